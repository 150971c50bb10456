/** Days of the calendar, without hours and time zones. */
export interface Day {
  year: number;
  month: number; // from 1
  day: number;
}

const LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

export function isLeap(year: number): boolean {
  return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
}

export function lengthOf(year: number, month: number): number {
  return month === 2 && isLeap(year) ? 29 : LENGTHS[month - 1];
}

/** Moves a day by months; the 31st becomes the last day of a shorter one. */
export function shifted(from: Day, months: number): Day {
  const all = from.year * 12 + from.month - 1 + months;
  const year = Math.floor(all / 12);
  const month = (all % 12) + 1;
  return { year, month, day: Math.min(from.day, lengthOf(year, month)) };
}

/** Reads "2026-11-21"; undefined for what is no day. */
export function parse(text: string): Day | undefined {
  const found = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text);
  if (!found) return undefined;
  const [year, month, day] = found.slice(1).map(Number);
  const valid = month >= 1 && month <= 12 && day >= 1 && day <= lengthOf(year, month);
  return valid ? { year, month, day } : undefined;
}

/** 0 is a Monday (Sakamoto). */
export function weekday({ year, month, day }: Day): number {
  const table = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
  const y = month < 3 ? year - 1 : year;
  const sunday = (y + Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400) + table[month - 1] + day) % 7;
  return (sunday + 6) % 7;
}
