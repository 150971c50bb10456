import { Item } from "./item";

export interface Options {
  currency: string;
  rounding?: number;
}

export class Cart {
  private readonly items: Item[] = [];

  constructor(private options: Options) {}

  add(item: Item): this {
    if (item.count <= 0) {
      throw new Error(`no such count: ${item.count}`);
    } else if (this.items.includes(item)) {
      item.count += 1;
    } else {
      this.items.push(item);
    }
    return this;
  }

  total(): number {
    return this.items
      .filter((each) => each.price > 0)
      .map((each) => each.price * each.count)
      .reduce((one, other) => one + other, 0);
  }

  page(): string {
    return `
      <ul>
        <li>${this.total()} :)</li>
      </ul>
    `;
  }
}
