import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'

test('the process that answers machines goes before others, with all of its threads', () => {
  const program = `
    import { readdirSync } from 'node:fs'
    import { getPriority } from 'node:os'
    import { goFirst } from ${JSON.stringify(join(import.meta.dirname, '../services/priority.ts'))}
    goFirst()
    console.log(JSON.stringify(readdirSync('/proc/self/task').map((thread) => getPriority(Number(thread)))))`
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  const all = JSON.parse(said) as number[]
  expect(all.length).toBeGreaterThan(4)
  expect(new Set(all)).toEqual(new Set([-10]))
})
