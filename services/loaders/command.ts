// Programs of this machine that the builds run.
import { spawn } from 'node:child_process'
import { UserError } from '../../src/fault.ts'

/** Runs a program to its end; what it says is part of the fault when it fails. */
export function run(
  program: string,
  args: string[],
  { anyCode = false }: { anyCode?: boolean } = {},
): Promise<{ out: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let said = ''
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    child.stderr.on('data', (chunk) => {
      said = (said + chunk).slice(-2000)
    })
    child.on('error', (error) => reject(new UserError(`${program} cannot be run`, { what: error.message })))
    child.on('close', (code) => {
      if (code === 0 || anyCode) return resolve({ out })
      const what = said.trim() || out.trim().slice(-500) || `exit code ${code}`
      reject(new UserError(`${program} failed`, { what }))
    })
  })
}
