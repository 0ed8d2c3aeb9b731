import { expect, test } from 'vitest'
import { planBoot } from '../../src/boot/policy.ts'
import { deployment, node, server } from './nodes.ts'

const kinds = {
  armed: 'install',
  booting: 'install',
  installing: 'install',
  installed: 'local',
  booted: 'local',
  failed: 'hold',
  held: 'hold',
  expired: 'hold',
} as const
for (const [state, kind] of Object.entries(kinds))
  test(`${state}: ${kind}`, () => {
    const plan = planBoot(node({ deployment: deployment(state as keyof typeof kinds) }), server)
    expect(plan?.kind).toBe(kind)
  })

test('no deployment: its own disk, by the recorded loader when there is one', () => {
  const loader = { espUuid: 'A1B2-C3D4', path: '/EFI/debian/grubx64.efi' }
  expect(planBoot(node(), server)).toEqual({ kind: 'local', title: 'n1: boot from its own disk' })
  expect(planBoot(node({ localLoader: loader }), server)).toMatchObject({ kind: 'local', loader })
})

test('offline: nothing answers, whatever is armed', () => {
  expect(planBoot(node({ offline: true, deployment: deployment('armed') }), server)).toBeUndefined()
})

test('what an installer is told', () => {
  expect(planBoot(node({ deployment: deployment('booting') }), { ...server, httpPort: 8080 })).toEqual({
    kind: 'install',
    title: 'n1: install img:3',
    kernel: { digest: `sha256:${'1'.repeat(64)}`, bytes: 8_200_000, name: `blobs/sha256/${'1'.repeat(64)}` },
    initrds: [
      { digest: `sha256:${'2'.repeat(64)}`, bytes: 5_000_000, name: `blobs/sha256/${'2'.repeat(64)}` },
      { digest: `sha256:${'3'.repeat(64)}`, bytes: 15_400_000, name: `blobs/sha256/${'3'.repeat(64)}` },
    ],
    args: [
      'ramdisk_size=200000',
      'ksdevice=52:54:00:77:00:11',
      'BOOTIF=01-52-54-00-77-00-11',
      'XCAT=10.77.0.1:3001',
      'xcatd=10.77.0.1:3001',
      'SCRIPTNAME=img',
      'si.image-server=10.77.0.1',
      'si.image-name=img',
      'si.script-name=img',
      'sysclone.server=http://10.77.0.1:8080',
      'sysclone.node=n1',
      `sysclone.token=${'ab'.repeat(32)}`,
      'console=tty0',
      'console=ttyS0,115200',
    ],
  })
})

test('a boot-only osimage: kernel and initrds as given, with the token and without the ramdisk’s words', () => {
  const rescue = { ...deployment('booting'), image: 'rescue', bootOnly: true as const }
  const plan = planBoot(node({ deployment: rescue }), server)
  expect(plan).toMatchObject({ kind: 'boot', title: 'n1: boot rescue' })
  expect(plan).toMatchObject({
    args: [
      'ksdevice=52:54:00:77:00:11',
      'BOOTIF=01-52-54-00-77-00-11',
      'XCAT=10.77.0.1:3001',
      'xcatd=10.77.0.1:3001',
      'SCRIPTNAME=rescue',
      'si.image-server=10.77.0.1',
      'si.image-name=rescue',
      'si.script-name=rescue',
      'sysclone.server=http://10.77.0.1',
      'sysclone.node=n1',
      `sysclone.token=${'ab'.repeat(32)}`,
      'console=tty0',
      'console=ttyS0,115200',
    ],
  })
  expect(planBoot(node({ deployment: { ...rescue, state: 'failed' } }), server)?.kind).toBe('hold')
})

test('a hold says why, and never the token', () => {
  const plan = planBoot(
    node({ deployment: { ...deployment('held'), reason: 'interrupted in copy' } }),
    server,
  )
  expect(plan).toMatchObject({ kind: 'hold', lines: expect.arrayContaining(['reason: interrupted in copy']) })
  expect(JSON.stringify(plan)).not.toContain('abab')
})
