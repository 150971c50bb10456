import { Day, lengthOf, parse, shifted, weekday } from "./dates";

type Listener = (state: State) => void;

export interface State {
  shown: Day; // of the month that is in view
  chosen?: Day;
  problem?: string;
}

/** What a date picker knows; how it looks is the business of others. */
export class Picker {
  private listeners = new Set<Listener>();

  constructor(private state: State) {}

  /** Calls back at every change until the function that it returns is called. */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The weeks of the month in view, with gaps where other months are. */
  grid(): (Day | undefined)[][] {
    const { year, month } = this.state.shown;
    const first = weekday({ year, month, day: 1 });
    const cells = [...Array(first).fill(undefined), ...this.days(year, month)];
    const rows = [];
    for (let i = 0; i < cells.length; i += 7) rows.push(cells.slice(i, i + 7));
    return rows;
  }

  /** Arrow keys turn the page, Escape forgets what was chosen. */
  press(key: string): void {
    if (key === "PageUp") this.set({ shown: shifted(this.state.shown, -1) });
    if (key === "PageDown") this.set({ shown: shifted(this.state.shown, 1) });
    if (key === "Escape") this.set({ chosen: undefined });
  }

  type(text: string): void {
    const chosen = parse(text);
    if (chosen) this.set({ chosen, shown: chosen, problem: undefined });
    else this.set({ problem: `${text} is no date: write it as 2026-11-21` });
  }

  private days(year: number, month: number): Day[] {
    return Array.from({ length: lengthOf(year, month) }, (_, i) => ({ year, month, day: i + 1 }));
  }

  private set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    this.listeners.forEach((listener) => listener(this.state));
  }
}
