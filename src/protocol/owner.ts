/**
 * The data worker that a topic belongs to, by rendezvous hashing: of all endpoints the one with the
 * highest SHA-256 of the endpoint, a NUL byte and the topic. So a data worker that joins or leaves
 * moves no topics but its own.
 */
export const ownerOf = (topic: string, endpoints: Iterable<string>): string | undefined => {
  let owner: string | undefined;
  let highest = "";
  const [first, ...others] = endpoints;
  if (others.length === 0) return first;
  for (const endpoint of [first ?? "", ...others]) {
    const hash = new Bun.CryptoHasher("sha256").update(`${endpoint}\0${topic}`).digest("hex");
    if (hash <= highest) continue;
    owner = endpoint;
    highest = hash;
  }
  return owner;
};
