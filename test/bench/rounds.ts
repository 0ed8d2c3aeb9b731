// Contestants take turns, so that what else the machine does meets all of them; the median of the turns counts.

/** The numbers of one turn, by what they are. */
export type Numbers = Record<string, number>

/** Medians by contestant: `measure` is asked of each in each round. */
export async function takeTurns<C extends { name: string }, N extends Numbers>(
  contestants: C[],
  rounds: number,
  measure: (contestant: C, round: number) => Promise<N>,
): Promise<Map<string, N>> {
  const turns = new Map<string, N[]>(contestants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const contestant of contestants) turns.get(contestant.name)!.push(await measure(contestant, round))
  return new Map([...turns].map(([name, all]) => [name, mediansOf(all)]))
}

function mediansOf<N extends Numbers>(turns: N[]): N {
  const keys = Object.keys(turns[0]!)
  return Object.fromEntries(keys.map((key) => [key, median(turns.map((turn) => turn[key]!))])) as N
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}
