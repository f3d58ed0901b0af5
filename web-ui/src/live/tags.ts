/**
 * Gathers a byte stream into whole FLV tags.
 *
 * The network cuts the stream anywhere; a large keyframe comes in dozens of pieces. Pieces are kept as
 * they are until a tag is whole and joined once, so that a tag is copied one time however many pieces it
 * came in. Layout: FLV 10.1 §E.2 to §E.4.1.
 */

/** File header (9 bytes) and the first PreviousTagSize (4). */
export const FILE_HEADER_BYTES = 13;
const TAG_HEADER_BYTES = 11;
const PREVIOUS_TAG_SIZE_BYTES = 4;
/** A picture of a camera never comes near this; a stream that claims more is broken, and is given up. */
const TAG_BYTES_MAX = 8 * 1024 * 1024;

export class BrokenStream extends Error {}

export class TagGatherer {
  private pieces: Uint8Array[] = [];
  private held = 0;
  /** How many bytes must be held before the next tag is whole. */
  private wanted = FILE_HEADER_BYTES + TAG_HEADER_BYTES;
  private headerSeen = false;

  /**
   * Takes what the network brought and gives back all tags that are whole now, joined, each with its
   * PreviousTagSize; the first answer starts with the file header. Null: nothing is whole yet.
   *
   * @throws BrokenStream when this is not FLV.
   */
  push(piece: Uint8Array): Uint8Array<ArrayBuffer> | null {
    this.pieces.push(piece);
    this.held += piece.byteLength;
    if (this.held < this.wanted) return null;

    const bytes = this.join();
    let end = 0;
    if (!this.headerSeen) {
      if (bytes[0] !== 0x46 || bytes[1] !== 0x4c || bytes[2] !== 0x56) throw new BrokenStream("this is not FLV");
      end = FILE_HEADER_BYTES;
    }
    const first = end;
    for (;;) {
      const left = bytes.byteLength - end;
      if (left < TAG_HEADER_BYTES) {
        this.wanted = TAG_HEADER_BYTES;
        break;
      }
      const size = tagBytes(bytes, end);
      if (size > TAG_BYTES_MAX) throw new BrokenStream(`a tag of ${size} bytes`);
      if (left < size) {
        this.wanted = size;
        break;
      }
      end += size;
    }
    if (end === first) {
      // Only headers so far: keep all, so that the file header leaves together with the first tag.
      this.keep(bytes);
      this.wanted += first;
      return null;
    }
    this.headerSeen = true;
    this.keep(bytes.subarray(end));
    // The demuxer wants a buffer that starts with the first byte.
    return end === bytes.byteLength ? bytes : bytes.slice(0, end);
  }

  private join(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.held);
    let at = 0;
    for (const piece of this.pieces) {
      bytes.set(piece, at);
      at += piece.byteLength;
    }
    return bytes;
  }

  private keep(rest: Uint8Array): void {
    this.pieces = rest.byteLength > 0 ? [rest] : [];
    this.held = rest.byteLength;
  }
}

function tagBytes(bytes: Uint8Array, at: number): number {
  const body = ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
  return TAG_HEADER_BYTES + body + PREVIOUS_TAG_SIZE_BYTES;
}
