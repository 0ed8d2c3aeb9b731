// What is printed: one line for each goal, ours against a peer of the same run. A goal that is missed says so and fails
// nothing: times are facts of a machine, not of the code alone.

export type Goal = { atLeast: number } | { atMost: number }
export type Figure = { value: number; unit: string }

let missed = 0
let said = 0

/** Ours divided by the peer's, which is named in `what`. */
export function ratio(what: string, ours: Figure, peer: Figure, goal?: Goal) {
  const value = ours.value / peer.value
  line(what, `${value.toFixed(2)}x`, `${write(ours)} / ${write(peer)}`, value, goal, 'x')
}

/** A number that has a goal of its own. */
export function plain(what: string, figure: Figure, goal?: Goal) {
  line(what, write(figure), '', figure.value, goal, figure.unit === '' ? '' : ` ${figure.unit}`)
}

export function note(text: string) {
  console.log(`  ${text}`)
}

export function heading(text: string) {
  console.log(`\n${text}`)
}

export function summary() {
  console.log(`\n${said - missed} of ${said} goals met${missed > 0 ? `, ${missed} MISSED` : ''}`)
}

function line(
  what: string,
  shown: string,
  detail: string,
  value: number,
  goal: Goal | undefined,
  unit: string,
) {
  const met = goal === undefined || ('atLeast' in goal ? value >= goal.atLeast : value <= goal.atMost)
  if (goal) said += 1
  if (!met) missed += 1
  const bound = goal && ('atLeast' in goal ? `>= ${goal.atLeast}${unit}` : `<= ${goal.atMost}${unit}`)
  const parts = [`  ${what.padEnd(58)} ${shown.padStart(12)}`]
  if (detail) parts.push(`(${detail})`)
  if (bound) parts.push(`goal ${bound}${met ? '' : '  MISSED'}`)
  console.log(parts.join('  '))
}

/** Three figures are enough, and as many as it takes before the point. */
function write({ value, unit }: Figure): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  const text = value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  return unit === '' ? text : `${text} ${unit}`
}
