//! An output's figures on the metrics page.

use crate::base::metrics::Exposition;

use super::headroom::Strain;
use super::status::{LineState, LineStatus, OutputStatus, REASONS, State};

impl OutputStatus {
    /// Writes them.
    pub(super) fn describe_metrics(&self, page: &mut Exposition) {
        let status = self;
        let labels = [("output", status.name.as_str()), ("stream", status.stream.as_str())];
        let live = f64::from(u8::from(status.state == State::Live));
        page.gauge("footlight_output_live", "1 while the far end acknowledges media.", &labels, live);
        page.counter("footlight_output_sent_bytes_total", "Bytes written.", &labels, status.bytes_sent);
        page.counter(
            "footlight_output_acknowledged_bytes_total",
            "Bytes that the far end acknowledged.",
            &labels,
            status.bytes_acked,
        );
        page.counter(
            "footlight_output_retransmits_total",
            "Segments sent again.",
            &labels,
            status.retransmits,
        );
        page.counter(
            "footlight_output_left_out_packets_total",
            "Packets left out because the line was too slow.",
            &labels,
            status.left_out,
        );
        page.counter(
            "footlight_output_reconnects_total",
            "Connections after the first.",
            &labels,
            status.reconnects,
        );
        let behind = status.behind.seconds();
        page.gauge("footlight_output_behind_seconds", "How far it is behind the stream.", &labels, behind);
        if let Some(rtt) = status.rtt {
            page.gauge("footlight_output_rtt_seconds", "Round trip time.", &labels, rtt.as_secs_f64());
        }
        page.counter(
            "footlight_output_switches_total",
            "Moves of the stream from one line to another.",
            &labels,
            status.switches,
        );
        for ((_, reason), count) in REASONS.iter().zip(status.lost) {
            let labels =
                [("output", status.name.as_str()), ("stream", status.stream.as_str()), ("reason", *reason)];
            let help = "Packets that no destination has, by why.";
            page.counter("footlight_output_lost_packets_total", help, &labels, count);
        }
        if let Some(needed) = status.needed {
            let help = "What the stream needs, sound included.";
            page.gauge("footlight_output_needed_bits_per_second", help, &labels, needed.0 as f64);
        }
        if let Some(told) = status.encoder {
            let help = "What the encoder was last told for its lines' sake, pictures alone.";
            page.gauge("footlight_output_encoder_target_bits_per_second", help, &labels, told.0 as f64);
        }
        let below = f64::from(u8::from(status.below_floor));
        let help = "1 while the line cannot carry the least bitrate allowed.";
        page.gauge("footlight_output_below_floor", help, &labels, below);
        for (at, line) in status.lines.iter().enumerate() {
            describe_line(&status.name, status.active == Some(at), line, page);
        }
    }
}

fn describe_line(output: &str, active: bool, line: &LineStatus, page: &mut Exposition) {
    let labels = [("output", output), ("line", line.role), ("destination", line.destination.as_str())];
    let up = matches!(line.state, LineState::Standby | LineState::Carrying);
    let mut gauge = |name, help, value| page.gauge(name, help, &labels, value);
    gauge("footlight_line_up", "1 while the far end takes the stream.", f64::from(u8::from(up)));
    let carries = active || line.state == LineState::Carrying;
    gauge("footlight_line_carries", "1 while this line carries the stream.", f64::from(u8::from(carries)));
    let strain = match line.strain {
        Strain::Fine => 0.0,
        Strain::Tight => 1.0,
        Strain::Overloaded => 2.0,
    };
    gauge("footlight_line_strain", "0: enough to spare, 1: under 30 %, 2: over 80 % used.", strain);
    if let Some(reading) = &line.reading {
        gauge("footlight_line_rtt_seconds", "Round trip time.", reading.rtt.as_secs_f64());
        gauge("footlight_line_rtt_base_seconds", "Shortest of 30 s.", reading.rtt_base.as_secs_f64());
        let acked = reading.acked.0 as f64;
        gauge("footlight_line_acknowledged_bits_per_second", "Over the last second.", acked);
        let queue = reading.queue_time.as_secs_f64();
        gauge("footlight_line_queue_seconds", "What queues add, in the box and on the way.", queue);
        gauge("footlight_line_queued_bytes", "Bytes that wait in the box.", reading.queued_bytes as f64);
        gauge("footlight_line_retransmitted_ratio", "Segments sent again, of 5 s.", reading.retransmitted);
        if let Some(capacity) = reading.capacity {
            let help = "What the line carried while it was the bottleneck.";
            gauge("footlight_line_capacity_bits_per_second", help, capacity.0 as f64);
        }
    }
    page.counter("footlight_line_connections_total", "Connections taken.", &labels, line.connections);
    page.counter("footlight_line_sent_bytes_total", "Bytes written.", &labels, line.bytes_sent);
    let help = "Bytes that the far end acknowledged.";
    page.counter("footlight_line_acknowledged_bytes_total", help, &labels, line.bytes_acked);
    let help = "Packets that it should have carried and did not, whoever else has them.";
    page.counter("footlight_line_missed_packets_total", help, &labels, line.missed);
    page.counter("footlight_line_retransmits_total", "Segments sent again.", &labels, line.retransmits);
}
