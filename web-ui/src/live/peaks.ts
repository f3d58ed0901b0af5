/** The lowest and highest value of the last seconds, in a fixed number of time slots: it never grows. */
export class Peaks {
  private readonly low: Float64Array;
  private readonly high: Float64Array;
  private readonly stamp: Float64Array;

  /** Remembers for `slots` times `slotMs`, in milliseconds. */
  constructor(private readonly slots: number, private readonly slotMs: number) {
    this.low = new Float64Array(slots);
    this.high = new Float64Array(slots);
    this.stamp = new Float64Array(slots).fill(-1);
  }

  add(now: number, value: number): void {
    const slot = Math.floor(now / this.slotMs);
    const at = slot % this.slots;
    if (this.stamp[at] !== slot) {
      this.stamp[at] = slot;
      this.low[at] = this.high[at] = value;
      return;
    }
    if (value < (this.low[at] ?? Infinity)) this.low[at] = value;
    if (value > (this.high[at] ?? -Infinity)) this.high[at] = value;
  }

  /** Null while nothing was added within memory. */
  lowest(now: number): number | null {
    return this.over(now, this.low, Math.min);
  }

  /** Null while nothing was added within memory. */
  highest(now: number): number | null {
    return this.over(now, this.high, Math.max);
  }

  clear(): void {
    this.stamp.fill(-1);
  }

  private over(now: number, values: Float64Array, pick: (a: number, b: number) => number): number | null {
    const oldest = Math.floor(now / this.slotMs) - this.slots;
    let best: number | null = null;
    for (let at = 0; at < this.slots; at++) {
      const stamp = this.stamp[at] ?? -1;
      if (stamp < 0 || stamp <= oldest) continue;
      const value = values[at] ?? 0;
      best = best === null ? value : pick(best, value);
    }
    return best;
  }
}
