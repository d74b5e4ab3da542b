/** Which data worker keeps a topic: always the same one, so that a topic's values stay in order and its last value is found. */

/** Rendezvous hashing: when an endpoint comes or goes, only the topics of that endpoint move. */
export const pickEndpoint = (topic: string, endpoints: Iterable<string>): string | undefined => {
  let best: string | undefined;
  let bestWeight = -1n;
  for (const endpoint of endpoints) {
    const weight = BigInt(Bun.hash(`${endpoint} ${topic}`));
    if (weight > bestWeight) {
      best = endpoint;
      bestWeight = weight;
    }
  }
  return best;
};
