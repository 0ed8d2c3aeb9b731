// The disk of the state folder is full: what that is called, and that machines boot all the same.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openMachine } from './machine.ts'
import { addresses, mac, openWorld, until, type World } from './world.ts'

let world: World
beforeAll(async () => {
  world = await openWorld()
  mkdirSync(world.stateDir)
})
afterAll(async () => {
  await world?.stop()
  spawnSync('umount', ['-l', world.stateDir])
  await world?.close()
})
const mount = (size: string) =>
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'none', world.stateDir])
const fill = () => spawnSync('dd', ['if=/dev/zero', `of=${join(world.stateDir, 'rest')}`, 'bs=4k'])

test('the first start says which file there is no room for', () => {
  mount('2m')
  const { code, err } = world.serveOnce(world.configFile)
  execFileSync('umount', [world.stateDir])
  expect(code).toBe(1)
  expect(err).toMatch(/^the disk is full \(.*\/state\/.*; allowed: to make room on it\)\n$/)
})

test('it fills up while the server runs: the process that answers can start anew, and nodes boot', {
  timeout: 240_000,
}, async () => {
  mount('200m')
  await world.start()
  expect(world.sysclone('mkdef', 'n1', `mac=${mac}`, 'ip=10.99.0.21')).toMatchObject({ code: 0 })
  fill()
  const [boot] = world.pids('boot')
  process.kill(boot!, 'SIGKILL')
  await until('it is back', () => world.pids('boot').some((pid) => pid !== boot))
  const machine = openMachine(world, mac)
  try {
    await until('it answers', () => machine.dhcp('ipxe') !== undefined)
    expect(machine.dhcp('ipxe')).toEqual({
      ip: '10.99.0.21',
      file: `http://${addresses.server}/boot/ipxe/${mac.replaceAll(':', '-')}`,
    })
    expect(machine.http(`/boot/ipxe/${mac.replaceAll(':', '-')}`).status).toBe(200)
    expect(machine.dhcp('bios')?.file).toBe('boot/grub/i386-pc/core.0')
  } finally {
    machine.close()
  }
})
