/** A cable between a browser and a gateway that can be cut, and that can hold bytes back and let them go at once. */
import type { Socket } from "bun";

interface Ends {
  readonly up: Way;
  readonly down: Way;
}

/** One direction of one connection. */
class Way {
  to: Socket<unknown> | null = null;
  readonly #held: Buffer[] = [];

  push(bytes: Buffer, isHeld: boolean): void {
    // Bun uses the memory again.
    this.#held.push(Buffer.from(bytes));
    if (!isHeld) this.flush();
  }

  flush(): void {
    if (this.to === null) return;
    const bytes = Buffer.concat(this.#held.splice(0));
    if (bytes.length === 0) return;
    const written = this.to.write(bytes);
    if (written < bytes.length) this.#held.unshift(bytes.subarray(Math.max(0, written)));
  }
}

export class SlowCable implements Disposable {
  readonly #listener: Bun.TCPSocketListener<Ends>;
  readonly #connections = new Set<Ends>();
  #isHeld = false;
  #isCut = false;

  constructor(port: number) {
    const cable = this;
    this.#listener = Bun.listen<Ends>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        async open(browser) {
          const ends: Ends = { up: new Way(), down: new Way() };
          browser.data = ends;
          ends.down.to = browser;
          cable.#connections.add(ends);
          ends.up.to = await Bun.connect({
            hostname: "127.0.0.1",
            port,
            socket: {
              data: (_, bytes) => ends.down.push(bytes, cable.#isHeld),
              drain: () => ends.up.flush(),
              close: () => void browser.end(),
            },
          });
          if (!cable.#isHeld) ends.up.flush();
        },
        data: (browser, bytes) => browser.data.up.push(bytes, cable.#isHeld),
        drain: (browser) => browser.data.down.flush(),
        close: (browser) => {
          cable.#connections.delete(browser.data);
          // A cut cable tells nobody.
          if (!cable.#isCut) browser.data.up.to?.end();
        },
      },
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#listener.port}`;
  }

  /** Nothing passes any more, and neither end is told. */
  cut(): void {
    this.#isCut = true;
    this.hold();
  }

  /** What comes from now on waits, in both directions. */
  hold(): void {
    this.#isHeld = true;
  }

  /** All that has waited passes at once. */
  burst(): void {
    this.#isHeld = false;
    for (const { up, down } of this.#connections) {
      up.flush();
      down.flush();
    }
  }

  /** Both ends of every connection are told. */
  break(): void {
    for (const { up, down } of this.#connections) {
      up.to?.terminate();
      down.to?.terminate();
    }
  }

  [Symbol.dispose](): void {
    this.break();
    this.#listener.stop(true);
  }
}
