import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { must, run, start } from '../../services/lab/command.ts'

const folder = mkdtempSync(join(tmpdir(), 'sysclone-command-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('input goes in, both outputs and the exit code come out, lines as they are written', async () => {
  const lines: string[] = []
  const script = 'read word; echo "got $word"; echo bad >&2; exit 3'
  const output = await run(['sh', '-c', script], { input: 'x\n', onLine: (line) => lines.push(line) })
  expect(output).toEqual({ code: 3, stdout: 'got x\n', stderr: 'bad\n' })
  expect(lines.sort()).toEqual(['bad', 'got x'])
})

test('a failure names the command and what it said; a missing command says so', async () => {
  await expect(must(['sh', '-c', 'echo no such disk >&2; exit 4'])).rejects.toThrow(
    /exit code 4 \(no such disk\)/,
  )
  await expect(run(['sysclone-no-such-command'])).rejects.toThrow(/sysclone-no-such-command is not installed/)
})

test('what was started is stopped, by force when it does not listen', async () => {
  const deaf = await start(['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], join(folder, 'deaf.log'))
  await sleep(200)
  expect(deaf.ended()).toBeUndefined()
  await deaf.stop(200)
  expect(deaf.ended()).toBe('exit code 137')
})

test('what was started ends with a parent that is killed', async () => {
  const script = `import { start } from ${JSON.stringify(join(import.meta.dirname, '../../services/lab/command.ts'))}
const child = await start(['sleep', '600'], ${JSON.stringify(join(folder, 'orphan.log'))})
console.log(child.pid)
setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const pid = await new Promise<number>((resolve) =>
    parent.stdout.once('data', (text) => resolve(Number(text))),
  )
  const running = () =>
    existsSync(`/proc/${pid}`) && !/State:\s+Z/.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  expect(running()).toBe(true)
  parent.kill('SIGKILL')
  for (let i = 0; i < 50 && running(); i++) await sleep(100)
  expect(running()).toBe(false)
})
