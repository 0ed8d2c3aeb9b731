// Golden files of every loader text; grub-script-check (grub-common) judges the GRUB ones. UPDATE_GOLDEN=1 rewrites them.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { renderGrub } from '../../src/boot/grub.ts'
import { renderIpxe } from '../../src/boot/ipxe.ts'
import type { BootPlan } from '../../src/boot/plan.ts'
import { planBoot } from '../../src/boot/policy.ts'
import { deployment, node, server } from './nodes.ts'

const ports = { ...server, httpPort: 8080, imagePort: 8082 }
const fixtures = join(import.meta.dirname, '../fixtures/boot')
const name = 'boot/ipxe/52-54-00-77-00-11'
const loader = { espUuid: 'A1B2-C3D4', path: '/EFI/debian/grubx64.efi' }
const plans: Record<string, BootPlan> = {
  install: planBoot(node({ deployment: deployment('armed') }), server)!,
  'install-ports': planBoot(node({ kernelArgs: [], deployment: deployment('armed') }), {
    ...server,
    httpPort: 8080,
  })!,
  'boot-only': planBoot(
    node({ deployment: { ...deployment('armed'), image: 'rescue', bootOnly: true } }),
    server,
  )!,
  'boot-only-kernel': planBoot(
    node({ deployment: { ...deployment('armed'), image: 'memtest', initrds: [], bootOnly: true } }),
    server,
  )!,
  'local-recorded': planBoot(node({ localLoader: loader, deployment: deployment('booted') }), server)!,
  local: planBoot(node({}), server)!,
  hold: planBoot(
    node({ deployment: { ...deployment('failed'), reason: "disks: /dev/sda is 'too small'" } }),
    server,
  )!,
}

for (const [title, plan] of Object.entries(plans)) {
  const us = title === 'install-ports' ? ports : server
  test(`grub: ${title}`, () => {
    const text = renderGrub(plan, us)
    golden(`${title}.grub.cfg`, text)
    expect(scriptCheck(text)).toEqual({ status: 0, stderr: '' })
  })
  test(`ipxe: ${title}`, () => golden(`${title}.ipxe`, renderIpxe(plan, us, name)))
}

function golden(file: string, text: string) {
  const path = join(fixtures, file)
  if (process.env.UPDATE_GOLDEN) writeFileSync(path, text)
  expect(text).toBe(readFileSync(path, 'utf8'))
}

function scriptCheck(text: string) {
  const { status, stderr } = spawnSync('grub-script-check', { input: text, encoding: 'utf8' })
  return { status, stderr }
}

test('every GRUB command of the texts is built into the core', () => {
  const build = readFileSync(join(import.meta.dirname, '../../bootfiles/loaders/build.sh'), 'utf8')
  const common = build.match(/common='([^']*)'/)?.[1]?.split(/\s+/)
  const efi = build.match(/core x86_64-efi (.*)/)?.[1]?.split(' ')
  const modules = new Set([...(common ?? []), ...(efi ?? [])])
  const moduleOf: Record<string, string> = {
    '[': 'test',
    exit: 'minicmd',
    chainloader: 'chain',
    initrd: 'linux',
  }
  const words = Object.values(plans).flatMap((plan) =>
    renderGrub(plan, server)
      .split('\n')
      .map((line) => /^\s*(?:if )?(\S+)/.exec(line)?.[1])
      .filter((word) => word !== undefined && !/^(#|set|else|fi|if)$/.test(word)),
  )
  expect(new Set(words).size).toBeGreaterThan(7)
  expect(words.filter((word) => !modules.has(moduleOf[word!] ?? word!))).toEqual([])
})

const install = plans.install as Extract<BootPlan, { kind: 'install' }>

test('GRUB: linux is run once whatever fails', () => {
  expect(renderGrub(install, server).match(/\blinux /g)).toHaveLength(1)
})

const refused = ['a"b', 'a\\b', 'a\nb', 'caf\u00e9', '']
for (const arg of refused)
  test(`a kernel parameter that a loader can not say is refused: ${JSON.stringify(arg)}`, () => {
    const plan = { ...install, args: [arg] }
    expect(() => renderGrub(plan, server)).toThrow(/can not/)
    expect(() => renderIpxe(plan, server, name)).toThrow(/can not/)
  })
for (const arg of ['${net0/mac}', '#x', ';', '&&', '||', 'a && b'])
  test(`iPXE would take this for its own: ${arg}`, () => {
    expect(() => renderIpxe({ ...install, args: [arg] }, server, name)).toThrow(/iPXE can not say/)
  })

test('law: no text for the screen becomes a command', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (reason) => {
      const plan = planBoot(node({ deployment: { ...deployment('failed'), reason } }), server)!
      const grub = renderGrub(plan, server).split('\n')
      expect(grub.filter((line) => !/^(#.*|echo '.*'|sleep 300|reboot|)$/.test(line))).toEqual([])
      const ipxe = renderIpxe(plan, server, name)
      expect(ipxe).toMatch(/^[\x20-\x7e\n]*$/)
      expect(
        ipxe.split('\n').filter((line) => !/^(#!ipxe|echo [^$|&;\\]*|:again|sleep 60|chain .*|)$/.test(line)),
      ).toEqual([])
    }),
  )
})

test('law: GRUB takes every kernel parameter that is not refused as one word', () => {
  const args = fc.array(fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 12 }), {
    minLength: 5,
    maxLength: 40,
  })
  fc.assert(
    fc.property(args, (all) => {
      const sayable = all.filter((arg) => !/['"\\]/.test(arg))
      expect(scriptCheck(renderGrub({ ...install, args: sayable }, server)).status).toBe(0)
    }),
    { numRuns: 20 },
  )
})
