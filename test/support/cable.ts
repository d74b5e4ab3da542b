/**
 * Two machines: two network namespaces with addresses of their own and nothing but a cable between them. Needs root (Linux,
 * `ip netns`).
 */

export type Machine = "robot" | "laptop";

const addresses: Readonly<Record<Machine, string>> = { robot: "192.168.1.20", laptop: "192.168.1.30" };
const machines: readonly Machine[] = ["robot", "laptop"];

const ip = (line: string): boolean => Bun.spawnSync(["ip", ...line.split(" ")], { stderr: "ignore" }).success;

let cables = 0;

export class Cable implements Disposable {
  static readonly robotAddress = addresses.robot;
  readonly #suffix = `${process.pid}-${++cables}`;

  /** null where there are no network namespaces to be had. */
  static plug(): Cable | null {
    const cable = new Cable();
    if (Bun.which("ip") !== null && cable.#plug()) return cable;
    cable[Symbol.dispose]();
    return null;
  }

  /** What goes before a command that is to run on that machine; it becomes the command itself, so its process id is that one's. */
  at(machine: Machine): readonly string[] {
    return ["ip", "netns", "exec", this.#nameOf(machine)];
  }

  /** Nobody is told: neither end sends anything of it to the other. */
  cut(): void {
    if (!this.#set("down")) throw new Error("the cable cannot be cut");
  }

  mend(): void {
    if (!this.#set("up")) throw new Error("the cable cannot be mended");
  }

  [Symbol.dispose](): void {
    if (Bun.which("ip") !== null) for (const machine of machines) ip(`netns del ${this.#nameOf(machine)}`);
  }

  #nameOf(machine: Machine): string {
    return `${machine}-${this.#suffix}`;
  }

  #set(state: "up" | "down"): boolean {
    return ip(`-n ${this.#nameOf("laptop")} link set eth0 ${state}`);
  }

  #plug(): boolean {
    const [robot, laptop] = [this.#nameOf("robot"), this.#nameOf("laptop")];
    return (
      ip(`netns add ${robot}`) &&
      ip(`netns add ${laptop}`) &&
      ip(`-n ${robot} link add eth0 type veth peer name eth0 netns ${laptop}`) &&
      machines.every((machine) => {
        const name = this.#nameOf(machine);
        return (
          ip(`-n ${name} addr add ${addresses[machine]}/24 dev eth0`) &&
          ip(`-n ${name} link set lo up`) &&
          ip(`-n ${name} link set eth0 up`)
        );
      })
    );
  }
}
