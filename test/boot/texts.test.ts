// Golden files of every loader text; grub-script-check (grub-common) judges the GRUB ones. UPDATE_GOLDEN=1 rewrites them.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Mac, NodeName } from '../../src/address.ts'
import { joinedName } from '../../src/boot/blob-names.ts'
import { eliloWarning, renderElilo } from '../../src/boot/elilo.ts'
import { renderGrub, signedGrubStart } from '../../src/boot/grub.ts'
import { parseImageUrl } from '../../src/boot/image-url.ts'
import { renderIpxe } from '../../src/boot/ipxe.ts'
import type { BootNode, BootPlan, KernelPlan, ServerAddress } from '../../src/boot/plan.ts'
import { planBoot } from '../../src/boot/policy.ts'
import { renderPetitboot, renderPxelinux, renderSlof } from '../../src/boot/pxelinux.ts'
import { strangerNode } from '../../src/boot/strangers.ts'
import { checkTexts, renderOrHold, renderText } from '../../src/boot/text.ts'
import { type Netboot, netboots } from '../../src/node/node.ts'
import { deployment, node, server } from './nodes.ts'

const ports = { ...server, httpPort: 8080, imagePort: 8082 }
const fixtures = join(import.meta.dirname, '../fixtures/boot')
const name = 'boot/ipxe/52-54-00-77-00-11'
const loader = { espUuid: 'A1B2-C3D4', path: '/EFI/debian/grubx64.efi' }
const plans: Record<string, BootPlan> = {
  install: planBoot(node({ deployment: deployment('armed') }), server)!,
  'install-ports': planBoot(node({ kernelArgs: [], deployment: deployment('armed') }), ports)!,
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
  unknown: planBoot(
    strangerNode('52:54:00:77:00:99' as Mac, {
      ...{ mac: '52:54:00:77:00:99' as Mac, code: '012345', uuid: '11111111-2222-3333-4444-555555555555' },
      ...{ server: server.address, firstSeen: 0, lastSeen: 0 },
    }),
    server,
  )!,
}

for (const [title, plan] of Object.entries(plans)) {
  const us = title === 'install-ports' ? ports : server
  const grubs = {
    'grub.cfg': renderGrub(plan, us),
    'grub-signed.cfg': renderGrub(plan, us, { signed: true }),
    ...(title === 'install' && {
      'grub-http.cfg': renderGrub(plan, us, { transport: 'http' }),
      'grub-tftp.cfg': renderGrub(plan, us, { transport: 'tftp' }),
    }),
  }
  for (const [suffix, text] of Object.entries(grubs))
    test(`${suffix}: ${title}`, () => {
      golden(`${title}.${suffix}`, text)
      expect(scriptCheck(text)).toEqual({ status: 0, stderr: '' })
    })
  test(`ipxe: ${title}`, () => golden(`${title}.ipxe`, renderIpxe(plan, us, { name })))
  test(`pxelinux: ${title}`, () => golden(`${title}.pxelinux`, renderPxelinux(plan)))
  test(`petitboot: ${title}`, () => golden(`${title}.petitboot`, renderPetitboot(plan, us)))
  if (!('kernel' in plan)) continue
  test(`ipxe, elilo: ${title}`, () =>
    golden(`${title}.elilo.ipxe`, renderIpxe(plan, us, { name, elilo: true })))
  test(`elilo: ${title}`, () => golden(`${title}.elilo`, renderElilo(plan)))
  test(`SLOF: ${title}`, () => golden(`${title}.slof`, renderSlof(plan)))
}
test('the signed GRUB’s one text', () => {
  golden('start.grub-signed.cfg', signedGrubStart)
  expect(scriptCheck(signedGrubStart)).toEqual({ status: 0, stderr: '' })
})

function golden(file: string, text: string) {
  const path = join(fixtures, file)
  if (process.env.UPDATE_GOLDEN) writeFileSync(path, text)
  expect(text).toBe(readFileSync(path, 'utf8'))
}

function scriptCheck(text: string) {
  const { status, stderr } = spawnSync('grub-script-check', { input: text, encoding: 'utf8' })
  return { status, stderr }
}

/** The commands of a text, without GRUB's own words. */
const commandsOf = (text: string) =>
  text
    .split('\n')
    .map((line) => /^\s*(?:if )?(\S+)/.exec(line)?.[1])
    .filter((word): word is string => word !== undefined && !/^(#|set|else|fi|if|while|done)$/.test(word))
const moduleOf: Record<string, string> = {
  '[': 'test',
  exit: 'minicmd',
  chainloader: 'chain',
  initrd: 'linux',
}

test('every GRUB command of the texts is built into the core', () => {
  const build = readFileSync(join(import.meta.dirname, '../../bootfiles/loaders/build.sh'), 'utf8')
  const common = build.match(/common='([^']*)'/)?.[1]?.split(/\s+/)
  const efi = build.match(/core x86_64-efi (.*)/)?.[1]?.split(' ')
  const modules = new Set([...(common ?? []), ...(efi ?? [])])
  const words = Object.values(plans).flatMap((plan) => commandsOf(renderGrub(plan, server)))
  expect(new Set(words).size).toBeGreaterThan(7)
  expect(words.filter((word) => !modules.has(moduleOf[word] ?? word))).toEqual([])
})

const install = plans.install as Extract<BootPlan, { kind: 'install' }>
const kernelPlans = Object.values(plans).filter((plan): plan is BootPlan & KernelPlan => 'kernel' in plan)

test('GRUB: linux is run once whatever fails', () => {
  for (const more of [{}, { signed: true }, { transport: 'http' }, { transport: 'tftp' }] as const)
    expect(renderGrub(install, server, more).match(/\blinux /g)).toHaveLength(1)
})

test('the signed GRUB never tries HTTP: Secure Boot prohibits it', () => {
  for (const plan of Object.values(plans))
    expect(renderGrub(plan, server, { signed: true })).not.toMatch(/\(http/)
})

test('UEFI never gets an exit from GRUB: OVMF would stand in its setup menu', () => {
  for (const signed of [true, false])
    for (const plan of Object.values(plans)) {
      const text = renderGrub(plan, server, { signed })
      expect(text.replace(/if \[ "\$grub_platform" != efi \]; then\n {2}exit\nfi/, '')).not.toMatch(
        /\bexit\b/,
      )
    }
})

test('iPXE: initrd= names every ramdisk, without which the 2019 one panics under UEFI', () => {
  const text = renderIpxe(install, server, { name })
  const loaded = [...text.matchAll(/^initrd --name (\S+) /gm)].map(([, each]) => each)
  expect(loaded).toEqual(['initrd0', 'initrd1'])
  expect(text).toMatch(/^kernel --name kernel \S+ initrd=initrd0 initrd=initrd1 /m)
})

// What elilo knows; at any other word it stops at its prompt. `ramdisk_size` is none, nor are `repo` and `ks`.
const eliloWords = /^(default|delay|image|label|initrd|read-only|append)$/
test('elilo: only its own keywords, and a default that is a label', () => {
  for (const plan of kernelPlans) {
    const text = renderElilo(plan)
    for (const line of text.split('\n').filter(Boolean)) expect(line.trim().split('=')[0]).toMatch(eliloWords)
    const value = (key: string) => new RegExp(`^\\s*${key}=(.*)$`, 'm').exec(text)?.[1]
    expect(value('default')).toBe(value('label'))
    expect(text.match(/initrd=/g) ?? []).toHaveLength(plan.initrds.length > 0 ? 1 : 0)
  }
  expect(renderElilo(install)).toMatch(/^ {3}append="ramdisk_size=200000 /m)
  expect(renderElilo(install)).not.toMatch(/\b(repo|ks)=/)
})

test('elilo: a kernel over 8 MiB is warned of, one over 15 MiB refused', () => {
  const sized = (bytes: number) => ({ ...install, kernel: { ...install.kernel, bytes } })
  expect(eliloWarning(8 << 20)).toBeUndefined()
  expect(eliloWarning((8 << 20) + 1)).toMatch(/8388609 bytes/)
  expect(renderElilo(sized(15 << 20))).toContain('image=')
  expect(() => renderElilo(sized((15 << 20) + 1))).toThrow(/too large for elilo .*at most 15728640/)
})

test('elilo and SLOF get several ramdisks as one file, pxelinux as a list', () => {
  const joined = `blobs/joined/${'2'.repeat(64)}.${'3'.repeat(64)}`
  expect(joinedName(install.initrds)).toBe(joined)
  expect(joinedName(install.initrds.slice(1))).toBe(`blobs/sha256/${'3'.repeat(64)}`)
  expect(renderElilo(install)).toContain(`initrd=/${joined}\n`)
  expect(renderSlof(install)).toContain(`initrd ${joined}\n`)
  expect(renderPxelinux(install)).toContain(
    `INITRD blobs/sha256/${'2'.repeat(64)},blobs/sha256/${'3'.repeat(64)}\n`,
  )
})

test('petitboot: full URLs and no quotes, which SLOF and pxelinux keep', () => {
  const text = renderPetitboot(install, ports)
  expect(petitbootFiles(install, ports)).toHaveLength(2)
  for (const url of petitbootFiles(install, ports)) expect(url).toMatch(/^http:\/\/10\.77\.0\.1:\d+\/blobs\//)
  expect(text).not.toMatch(/["']/)
})

const petitbootFiles = (plan: KernelPlan & { kind: 'install' }, us: ServerAddress) =>
  [...renderPetitboot(plan, us).matchAll(/^\t(?:kernel|initrd) (\S+)$/gm)].map(([, url]) => url)
test('petitboot: kernel and a single ramdisk from the first image server, what is joined from us', () => {
  const [kernel, initrd] = ['1', '2'].map((digit) => `blobs/sha256/${digit.repeat(64)}`)
  const joined = joinedName(install.initrds)
  const single = { ...install, initrds: install.initrds.slice(0, 1) }
  const images = [parseImageUrl('http://10.77.0.5:8090/images'), parseImageUrl('http://10.77.0.6')]
  const rows: [ServerAddress, typeof install, string[]][] = [
    [ports, single, [`http://10.77.0.1:8082/${kernel}`, `http://10.77.0.1:8082/${initrd}`]],
    [ports, install, [`http://10.77.0.1:8082/${kernel}`, `http://10.77.0.1:8080/${joined}`]],
    [
      { ...ports, images },
      single,
      [`http://10.77.0.5:8090/images/${kernel}`, `http://10.77.0.5:8090/images/${initrd}`],
    ],
    [
      { ...ports, images },
      install,
      [`http://10.77.0.5:8090/images/${kernel}`, `http://10.77.0.1:8080/${joined}`],
    ],
  ]
  for (const [us, plan, files] of rows) expect(petitbootFiles(plan, us)).toEqual(files)
})

test('SLOF: at most 2 KB, and only words that it knows', () => {
  for (const plan of kernelPlans)
    for (const line of renderSlof(plan).split('\n').filter(Boolean))
      expect(line.trim()).toMatch(/^(default|label|kernel|initrd|append) ./)
  expect(() => renderSlof({ ...install, args: ['x'.repeat(2000)] })).toThrow(/too long for SLOF/)
})

test('from its own disk: each loader in its own way', () => {
  const plan = plans['local-recorded']!
  expect(renderPxelinux(plan)).toMatch(/LOCALBOOT 0/)
  expect(renderPetitboot(plan, server)).not.toMatch(/kernel/)
  expect(renderIpxe(plan, server, { name })).toMatch(/^iseq \$\{platform\} efi \|\| exit$/m)
  // Beside another DHCP server GRUB would not find us: there firmware is told to go on.
  const beside = renderIpxe(plan, { ...server, proxy: true }, { name })
  expect(beside).toMatch(/\nexit 1\n$/)
  expect(beside).not.toMatch(/chain/)
  const grub = renderGrub(plan, server)
  expect(grub.indexOf('A1B2-C3D4')).toBeLessThan(grub.indexOf('BOOTX64'))
  expect(grub).toMatch(/--set=root[\s\S]*chainloader \(\$root\)/)
  // Nobody may have signed the recorded one: a shim beside it is tried before.
  expect(renderGrub(plan, server, { signed: true })).toMatch(
    /debian\/shimx64\.efi[\s\S]*debian\/grubx64\.efi/,
  )
  expect(renderText({ language: 'elilo', plan, server, name, node: node() })).toBeUndefined()
})

const refused = ['a"b', 'a\\b', 'a\nb', 'caf\u00e9', '']
const everyLoader: [string, (plan: KernelPlan & { kind: 'install' }) => string][] = [
  ['grub', (plan) => renderGrub(plan, server)],
  ['ipxe', (plan) => renderIpxe(plan, server, { name })],
  ['elilo', renderElilo],
  ['pxelinux', renderPxelinux],
  ['petitboot', (plan) => renderPetitboot(plan, server)],
  ['SLOF', renderSlof],
]
for (const arg of refused)
  test(`a kernel parameter that a loader can not say is refused: ${JSON.stringify(arg)}`, () => {
    for (const [, render] of everyLoader) expect(() => render({ ...install, args: [arg] })).toThrow(/can not/)
  })
for (const arg of ['${net0/mac}', '#x', ';', '&&', '||', 'a && b'])
  test(`iPXE would take this for its own: ${arg}`, () => {
    expect(() => renderIpxe({ ...install, args: [arg] }, server, { name })).toThrow(/iPXE can not say/)
  })
test('elilo would put its own value for %N, pxelinux and petitboot load an initrd= of the words', () => {
  expect(() => renderElilo({ ...install, args: ['x=%N'] })).toThrow(/elilo can not pass/)
  for (const render of [renderPxelinux, renderSlof, (plan: typeof install) => renderPetitboot(plan, server)])
    expect(() => render({ ...install, args: ['initrd=/etc/passwd'] })).toThrow(/can not pass/)
})

test('law: a word that is not refused is one word of the line, in every language without quotes', () => {
  const word = fc.oneof(
    fc.string({ minLength: 1, maxLength: 20 }),
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.constantFrom('a b', 'x\n', '\tkernel', 'initrd=x', '%B', '-', '"', '#'),
  )
  const lines: [RegExp, (plan: typeof install) => string][] = [
    [/^ {3}append="(.*)"$/m, renderElilo],
    [/^ {2}APPEND (.*)$/m, renderPxelinux],
    [/^\tappend (.*)$/m, (plan) => renderPetitboot(plan, server)],
    [/^\tappend (.*)$/m, renderSlof],
  ]
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 6 }), (args) => {
      for (const [form, render] of lines) {
        let text: string
        try {
          text = render({ ...install, args })
        } catch {
          continue
        }
        expect(form.exec(text)?.[1]?.split(' ')).toEqual(args)
        expect(text.split('\n')).toHaveLength(render(install).split('\n').length)
      }
    }),
  )
})

test('law: no text for the screen becomes a command', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (reason) => {
      const plan = planBoot(node({ deployment: { ...deployment('failed'), reason } }), server)!
      const grub = renderGrub(plan, server).split('\n')
      expect(grub.filter((line) => !/^(#.*|echo '.*'|sleep 300|reboot|)$/.test(line))).toEqual([])
      const ipxe = renderIpxe(plan, server, { name })
      expect(ipxe).toMatch(/^[\x20-\x7e\n]*$/)
      expect(
        ipxe.split('\n').filter((line) => !/^(#!ipxe|echo [^$|&;\\]*|:again|sleep 60|chain .*|)$/.test(line)),
      ).toEqual([])
      const pxelinux = renderPxelinux(plan).split('\n')
      expect(
        pxelinux.filter(
          (line) =>
            !/^(DEFAULT again|PROMPT 1|TIMEOUT 3000|SAY [ -~]*|LABEL again| {2}KERNEL pxelinux.0|)$/.test(
              line,
            ),
        ),
      ).toEqual([])
      const petitboot = renderPetitboot(plan, server).split('\n')
      expect(
        petitboot.filter((line) => !/^((default|label) [ -~]*|\tkernel \S+\/boot\/hold|)$/.test(line)),
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

// ---- what can not be said is known early, and a machine never stands before an error ----

const armed = (more: Partial<BootNode>) => node({ deployment: deployment('armed'), ...more })

test('a usual install can be said to every loader', () => {
  for (const netboot of [undefined, ...netboots]) checkTexts(armed(netboot ? { netboot } : {}), server)
})

test('the command line ends before a kernel would cut it off', () => {
  const long = (bytes: number) => armed({ kernelArgs: [`x=${'y'.repeat(bytes - 2)}`] })
  const room = 2047 - 280 - install.args.join(' ').length + install.args.slice(-2).join(' ').length
  checkTexts(long(room), server)
  expect(() => checkTexts(long(room + 1), server)).toThrow(
    /command line is too long \(1768 bytes; allowed: at most 1767/,
  )
})

const cases: [Netboot | undefined, Partial<BootNode>, RegExp][] = [
  ['elilo', { kernelArgs: ['a=%N'] }, /elilo can not pass this/],
  [
    'elilo',
    { deployment: { ...deployment('armed'), kernel: { ...install.kernel, bytes: 16 << 20 } } },
    /too large/,
  ],
  ['pxe', { kernelArgs: ['initrd=x'] }, /can not pass this/],
  [undefined, { kernelArgs: ['a"b'] }, /GRUB can not pass this/],
]
for (const [netboot, more, why] of cases)
  test(`netboot=${netboot}: refused at nodeset, a screen at boot: ${why.source}`, () => {
    const bad = armed({ ...(netboot && { netboot }), ...more })
    expect(() => checkTexts(bad, server)).toThrow(why)
    const plan = planBoot(bad, server)!
    const language = netboot === 'pxe' ? 'pxelinux' : 'grub'
    const shown = renderOrHold({ language, plan, node: bad, server, name })!
    if (netboot !== 'elilo') {
      expect(shown.plan).toMatchObject({
        kind: 'hold',
        lines: expect.arrayContaining([expect.stringMatching(why)]),
      })
      expect(shown.text).toMatch(/nodeset n1 boot/)
    }
    // elilo itself has no screen: it gets nothing, and the server's log says why.
    if (netboot === 'elilo')
      expect(renderOrHold({ language: 'elilo', plan, node: bad, server, name })).toBeUndefined()
  })

test('secrets are in no text: the token is a capability, and only where a machine installs', () => {
  for (const [title, plan] of Object.entries(plans))
    for (const [loaderName, render] of everyLoader) {
      if (!('kernel' in plan) && ['elilo', 'SLOF'].includes(loaderName)) continue
      const text = render(plan as typeof install)
      expect({ title, loaderName, token: text.includes('ab'.repeat(32)) }).toMatchObject({
        token: 'kernel' in plan,
      })
    }
})

test('a long name and image still leave room for words of the node', () => {
  const image = `${'i'.repeat(64)}:123`
  const most = armed({ name: 'n'.repeat(63) as NodeName, deployment: { ...deployment('armed'), image } })
  const plan = planBoot(most, { ...server, httpPort: 65_535 })!
  expect('args' in plan && plan.args.join(' ').length).toBeLessThan(900)
})
