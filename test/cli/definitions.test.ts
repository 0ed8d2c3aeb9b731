// Definitions by files, groups and selections: commands as processes of their own, against a real server and database.
import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeEmit } from '../../services/emit.ts'
import { startAdmin } from '../../services/http/admin.ts'
import type { AdminNeeds } from '../../services/http/admin-needs.ts'
import { openStore, type Store } from '../../services/store/store.ts'
import type { ImageName, Ipv4, NodeName } from '../../src/address.ts'

const execute = promisify(execFile)
const main = join(import.meta.dirname, '../../services/cli/main.ts')
const folder = mkdtempSync(join(tmpdir(), 'sysclone-definitions-'))
const socket = join(folder, 'api.sock')
let store: Store
let admin: Awaited<ReturnType<typeof startAdmin>>

beforeAll(async () => {
  store = await openStore(join(folder, 'db'))
  await store.osimages.put({ name: 'img' as ImageName, profile: 'compute' })
  admin = await startAdmin({
    socket,
    store,
    networks: [{ subnet: { base: 0x0a000000, prefix: 16 }, address: '10.0.0.1' as Ipv4 }],
    images: { list: () => [], get: () => undefined },
    deploy: { stat: async () => 'boot' },
    keepFiles: async () => ({}),
    nodesChanged: () => {},
    emit: makeEmit(() => {}),
  } as unknown as AdminNeeds)
})
beforeEach(async () => {
  await store.nodes.remove((await store.nodes.list()).map(({ name }) => name))
  await store.groups.remove((await store.groups.list()).map(({ name }) => name))
  await store.nodes.putMany(
    ['n1', 'n2', 'n3'].map((name) => ({ name: name as NodeName, groups: ['compute'], mac: [] })),
  )
})
afterAll(async () => {
  await admin.close()
  await store.close()
  rmSync(folder, { recursive: true })
})

type Run = { code: number | null; out: string; err: string }
function run(words: string[], input = ''): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...words], {
      env: { PATH: process.env.PATH, SYSCLONE_SERVER: socket },
      timeout: 30_000,
    })
    const read = { out: '', err: '' }
    child.stdout.on('data', (chunk) => {
      read.out += chunk
    })
    child.stderr.on('data', (chunk) => {
      read.err += chunk
    })
    child.stdin.on('error', () => {}) // it did not read to the end
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...read }))
    child.stdin.end(input)
  })
}
const lines = (...all: string[]) => all.map((line) => `${line}\n`).join('')
const made = (count: number) => ({
  code: 0,
  out: `${count} object definitions have been created or modified.\n`,
  err: '',
})
const file = (name: string, text: string | Buffer) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

test('groups: static, dynamic, shown, used, removed', async () => {
  expect(await run(['mkdef', '-t', 'group', 'rack1', 'members=n[1-2]', 'osimage=img'])).toEqual(made(1))
  expect((await run(['chdef', 'n3', 'arch=x86_64', 'ip=10.0.0.7'])).code).toBe(0)
  expect(
    await run(['mkdef', '-t', 'group', '-o', 'intel', '-d', '-w', 'arch==x86_64', '-w', 'ip!=']),
  ).toEqual(made(1))
  expect((await run(['lsdef', '-t', 'group'])).out).toBe(
    lines('compute  (group)', 'intel  (group)', 'rack1  (group)'),
  )
  expect((await run(['lsdef', '-t', 'group', 'rack1,intel'])).out).toBe(
    lines(
      'Object name: rack1',
      '    members=n1,n2',
      '    osimage=img',
      'Object name: intel',
      '    members=n3',
      '    where=arch==x86_64::ip!=',
    ),
  )
  expect((await run(['lsdef', 'intel', '-i', 'groups'])).out).toBe(
    lines('Object name: n3', '    groups=compute'),
  )
  expect(await run(['rmdef', '-t', 'group', 'rack1'])).toMatchObject({ code: 0 })
  expect((await run(['lsdef', 'n1', '-i', 'groups'])).out).toContain('groups=compute\n')
})

test('lsdef -s, -c, --table: names, lines by themselves, a table', async () => {
  const out = async (...words: string[]) => (await run(['lsdef', ...words])).out
  await run(['chdef', 'n[1-2]', 'groups=all,compute', 'arch=x86_64'])
  expect(await out('n1', '-s')).toBe(lines('n1  (node)'))
  expect(await out('n[1-2]', '-c', '-i', 'arch,ip')).toBe(
    lines('n1: arch=x86_64', 'n1: ip=', 'n2: arch=x86_64', 'n2: ip='),
  )
  expect(await out('n[1-2]', '--table', '-i', 'groups,ip,arch')).toBe(
    lines('NODE  GROUPS       IP  ARCH', 'n1    all,compute      x86_64', 'n2    all,compute      x86_64'),
  )
  expect(await out('-t', 'group', '--table')).toMatch(/^GROUP +OSIMAGE +PRIORITY +WHERE +MEMBERS\n/)
}, 60_000)

test('-w: several selections must hold; they change and remove too', async () => {
  await run(['chdef', 'n[1-2]', 'arch=x86_64'])
  await run(['chdef', 'n2', 'lock=1'])
  const selected = await run(['lsdef', '-w', 'arch==x86_64', '-w', 'lock!=1', '-i', 'arch'])
  expect(selected.out).toBe(lines('Object name: n1', '    arch=x86_64'))
  expect(await run(['chdef', '-w', 'arch=~x86', 'usercomment=old one'])).toEqual(made(2))
  expect(await run(['lsdef', 'n3', '-w', 'arch==x86_64'])).toMatchObject({
    code: 1,
    err: 'no node is so (arch==x86_64)\n',
  })
  await run(['rmdef', '-o', 'n[1-3]', '-w', 'lock==1'])
  expect((await store.nodes.list()).map(({ name }) => name)).toEqual(['n1', 'n3'])
})

test('stanzas come back to the same text, from a file and from the standard input', async () => {
  await run([
    'mkdef',
    'x[1-2]',
    'groups=all,rack1',
    'arch=x86_64',
    'kcmdline=a=[1,2] b',
    'usercomment=it: "is" #1',
  ])
  await run(['mkdef', '-t', 'group', 'dyn', 'where=groups==rack1', 'priority=3'])
  const nodes = await run(['lsdef', 'x1,x2,n1', '-z'])
  expect(nodes.out).toBe(
    lines(
      '# <xCAT data object stanza file>',
      '',
      'x1:',
      '    objtype=node',
      '    arch=x86_64',
      '    groups=all,rack1',
      '    kcmdline=a=[1,2] b',
      '    usercomment=it: "is" #1',
      '',
      'x2:',
      '    objtype=node',
      '    arch=x86_64',
      '    groups=all,rack1',
      '    kcmdline=a=[1,2] b',
      '    usercomment=it: "is" #1',
      '',
      'n1:',
      '    objtype=node',
      '    groups=compute',
    ),
  )
  const groups = (await run(['lsdef', '-t', 'group', '-z'])).out
  expect(groups).toContain('dyn:\n    objtype=group\n    priority=3\n    where=groups==rack1\n')
  const shown = (await run(['lsdef', '-l'])).out
  await run(['rmdef', 'x[1-2],n1'])
  await run(['rmdef', '-t', 'group', 'dyn'])
  expect(await run(['mkdef', '-z'], nodes.out)).toEqual(made(3))
  expect(
    await run(['mkdef', '-z', file('dyn', groups.slice(groups.indexOf('dyn:'), groups.indexOf('\nrack1:')))]),
  ).toEqual(made(1))
  expect((await run(['lsdef', 'x1,x2,n1', '-z'])).out).toBe(nodes.out)
  expect((await run(['lsdef', '-t', 'group', '-z'])).out).toBe(groups)
  expect((await run(['lsdef', '-l'])).out).toBe(shown)
  expect(await run(['chdef', '-z'], 'x1:\n    arch=\nx2:\n    lock=1\n')).toEqual(made(2))
  expect((await store.nodes.get('x1' as NodeName))?.arch).toBeUndefined()
})

test('10,000 nodes with one fault in line 7,000: nothing is written, the line is named', async () => {
  const text = Array.from({ length: 10_000 }, (_, i) => [
    `m${i}:`,
    '    objtype=node',
    i === 2333 ? '    mac=52:54' : '    arch=x86_64',
  ])
  // Three lines a node: the mac of m2333 is line 3 * 2333 + 3.
  const path = file('many', lines(...text.flat(), ''))
  const before = await store.nodes.list()
  const { code, out, err } = await run(['mkdef', '-z', path])
  expect({ code, out }).toEqual({ code: 1, out: '' })
  expect(err).toBe(
    `${path}: line 7002: m2333: mac: not a MAC address (52:54; allowed: MAC addresses (InfiniBand: port GUIDs) with commas between, the install interface first)\n`,
  )
  expect(await store.nodes.list()).toEqual(before)
})

describe('export and import', () => {
  for (const format of ['yaml', 'csv', 'stanza'])
    test(`${format}: the whole set comes back`, async () => {
      await run(['chdef', 'n[1-2]', 'arch=x86_64', 'usercomment="a", b'])
      await run(['chdef', 'n1', 'ip=10.0.0.7', 'mac=52-54-00-00-00-01,525400000002'])
      const of = format === 'csv' ? ['-t', 'node'] : []
      const saved = (await run(['export', ...of, '--format', format])).out
      const path = file(`saved.${format}`, saved)
      await run(['chdef', 'n1', 'arch=aarch64', 'ip=10.0.0.8'])
      await run(['rmdef', 'n2'])
      const count = format === 'csv' ? 3 : 5 // with the group and the osimage
      expect(await run(['import', path])).toEqual(made(count))
      expect((await run(['export', ...of, '--format', format])).out).toBe(saved)
    })

  test('JSON is for programs', async () => {
    await run(['chdef', 'n1', 'lock=1'])
    const { node, group } = JSON.parse((await run(['export', '--json'])).out)
    expect([node.n1, group.compute]).toEqual([{ groups: 'compute', lock: '1' }, { members: 'n1,n2,n3' }])
  })

  test('a fault names its line, and nothing is written', async () => {
    const before = await store.nodes.list()
    const csv = file('bad.csv', 'node,arch,mac\nn1,x86_64,\nx1,x86_64,525400000001\nx2,,52:54:0:0:0:1\n')
    expect(await run(['import', csv])).toEqual({
      code: 1,
      out: '',
      err: `${csv}: line 4: x2: mac: belongs to node x1 (52:54:00:00:00:01)\n`,
    })
    const yaml = file('bad.yaml', 'node:\n  n1:\n    lock: 1\n  n2:\n    color: red\n')
    expect((await run(['import', yaml])).err).toMatch(/bad\.yaml: line 5: n2: no such attribute \(color; /)
    expect((await run(['import', '-', '--format', 'yaml'], 'a: [')).err).toMatch(
      /^standard input: line 1: not YAML/,
    )
    expect(await run(['import', file('x.txt', '')])).toMatchObject({ code: 2 })
    expect((await run(['import', file('latin.csv', Buffer.from('node\nn\xe4\n', 'latin1'))])).err).toMatch(
      /latin\.csv: not a text \(bytes that are no UTF-8/,
    )
    expect((await run(['import', file('none.yaml', '')])).err).toMatch(/none\.yaml: the file defines nothing/)
    expect(await store.nodes.list()).toEqual(before)
  })
})

describe('a password of a BMC', () => {
  const passwordOf = async (name: string) => store.passwordOf((await store.nodes.get(name as NodeName))!)
  const entries = async () => (await store.audit.list({ last: 1000 })) as unknown[]

  test('bmcpassword=- reads the first line of the standard input; nothing shows it, nothing keeps it clear', async () => {
    const { length } = await entries()
    expect(await run(['chdef', 'n1', 'bmcpassword=-', 'bmc=n1-bmc'], 'hunter2 !\nmore\n')).toEqual(made(1))
    expect(await passwordOf('n1')).toBe('hunter2 !')
    expect(await run(['mkdef', 'x[1-2]', 'bmcpassword=-'], 'hunter3')).toEqual(made(2))
    expect([await passwordOf('x1'), await passwordOf('x2')]).toEqual(['hunter3', 'hunter3'])
    expect((await run(['lsdef', 'n1'])).out).toContain('    bmcpassword=********\n')
    for (const words of [
      ['lsdef', '-l'],
      ['lsdef', 'n1', '-i', 'bmcpassword'],
      ['lsdef', '-z'],
      ['lsdef', '--json', '-l'],
      ['export'],
      ['export', '--json'],
      ['export', '-t', 'node', '--format', 'csv'],
    ]) {
      const { code, out } = await run(words)
      expect({ words, code, hidden: out.includes('********') }).toEqual({ words, code: 0, hidden: true })
      expect(out).not.toMatch(/hunter|v1:/)
    }
    expect((await entries()).slice(length)).toMatchObject([
      { object: 'n1', after: { bmcpassword: '(hidden)', bmc: 'n1-bmc' } },
      { object: 'x1' },
      { object: 'x2' },
    ])
    expect(JSON.stringify(await entries())).not.toMatch(/hunter|v1:/)
    for (const name of ['db', 'db-wal'])
      expect(readFileSync(join(folder, name)).includes('hunter')).toBe(false)
  })

  test('no first line: refused, the one before stays; an empty value takes it away', async () => {
    await run(['chdef', 'n1', 'bmcpassword=hunter2'])
    for (const [input, what] of [
      ['', 'it is empty'],
      ['\nhunter3\n', 'the line is empty'],
    ])
      expect(await run(['chdef', 'n1', 'bmcpassword=-'], input)).toEqual({
        code: 1,
        out: '',
        err: `bmcpassword: the standard input has no first line (${what}; allowed: bmcpassword= takes it away)\n`,
      })
    expect(await passwordOf('n1')).toBe('hunter2')
    expect(await run(['chdef', 'n1', 'usercomment=-'])).toEqual(made(1))
    expect(await run(['chdef', 'n1', 'bmcpassword='])).toEqual(made(1))
    expect(await passwordOf('n1')).toBeUndefined()
    expect((await run(['lsdef', 'n1'])).out).not.toContain('bmcpassword')
  })

  for (const format of ['yaml', 'csv', 'stanza'])
    test(`${format}: what was written out and is read again leaves it as it is; a new one is set, and audited`, async () => {
      await run(['chdef', 'n1', 'bmcpassword=hunter2', 'uuid=F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6'])
      const saved = (await run(['export', '-t', 'node', '--format', format])).out
      const path = file(`secret.${format}`, saved)
      expect(await run(['import', path])).toEqual(made(3))
      expect(await passwordOf('n1')).toBe('hunter2')
      expect(await passwordOf('n2')).toBeUndefined()
      expect((await run(['export', '-t', 'node', '--format', format])).out).toBe(saved)
      const { length } = await entries()
      file(`secret.${format}`, saved.replace('********', 'hunter3'))
      expect(await run(['import', path])).toEqual(made(3))
      expect(await passwordOf('n1')).toBe('hunter3')
      expect((await entries()).slice(length)).toMatchObject([{ object: 'n1', what: 'import' }])
    })

  test('help says how', async () => {
    const { out } = await run(['chdef', '--help'])
    expect(out).toMatch(
      /^ {2}bmcpassword {5}.*\(kept; used by power control when that comes\).*- reads one line/m,
    )
  })
})

test('a UUID and a serial number have one owner', async () => {
  await run(['chdef', 'n1', 'uuid=f81d4fae-7dec-11d0-a765-00a0c91e6bf6', 'serial=S1'])
  expect(await run(['chdef', 'n2', 'uuid=F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6'])).toMatchObject({
    code: 1,
    err: 'n2: uuid: belongs to node n1 (f81d4fae-7dec-11d0-a765-00a0c91e6bf6)\n',
  })
  expect((await run(['mkdef', 'x1', 'serial=S1'])).err).toBe('x1: serial: belongs to node n1 (S1)\n')
})

test('noderange prints names, and how they were read', async () => {
  const list = file('list', 'n1\nn3 # the last\n')
  expect(await run(['noderange', `compute@^${list}`])).toEqual({ code: 0, out: lines('n1', 'n3'), err: '' })
  expect((await run(['noderange', '/n[12]/,-n1', '--explain'])).out).toBe(
    lines('/n[12]/  names that match (2)', 'n1       left out: a node (1)', '= 1 nodes'),
  )
  expect(JSON.parse((await run(['noderange', 'compute', '--json'])).out)).toEqual(['n1', 'n2', 'n3'])
  expect(await run(['noderange', '/x/'])).toMatchObject({
    code: 1,
    err: 'the noderange leaves no node (/x/)\n',
  })
  expect(await run(['lsdef', `^${join(folder, 'nowhere')}`])).toMatchObject({ code: 1 })
  expect((await run(['noderange', '/(((a+)+)+)+b/'])).code).toBe(1)
})

test('import --skip-unknown takes over what xCAT’s lsdef -z writes, and names what it leaves out', async () => {
  const stanza = file(
    'xcat.stanza',
    `# <xCAT data object stanza file>

x1:
    objtype=node
    arch=x86_64
    chain=runcmd=bmcsetup,osimage=img
    currstate=boot
    groups=compute,all
    mac=52:54:00:00:00:aa
    mgt=ipmi
    netboot=xnba
    postscripts=syslog,remoteshell
    profile=compute
    status=booted

centos7.8-x86_64-install-compute:
    objtype=osimage
    imagetype=linux
    osarch=x86_64
    osname=Linux
    otherpkgdir=/install/post/otherpkgs/centos7.8/x86_64
    pkglist=/opt/xcat/share/xcat/install/centos/compute.centos7.pkglist
    provmethod=sysclone
    rootimgdir=/install/sysclone/images/img
`,
  )
  expect((await run(['import', stanza])).err).toMatch(
    /line 18: centos7.8-.*: only the server sets this attribute \(imagetype;/,
  )
  expect(await run(['import', '--skip-unknown', stanza])).toEqual({
    code: 0,
    err: '',
    out: lines(
      ...['node chain', 'node currstate', 'node status'].map((each) => `left out: ${each}`),
      ...['imagetype', 'osarch', 'osname', 'rootimgdir'].map((each) => `left out: osimage ${each}`),
      '2 object definitions have been created or modified.',
    ),
  })
  expect((await run(['lsdef', 'x1'])).out).toContain('    postscripts=syslog,remoteshell\n')
  expect((await run(['lsdef', '-t', 'osimage', 'centos7.8-x86_64-install-compute'])).out).toContain(
    'pkglist=/opt',
  )
})

test('two processes that change one node at once: nothing is lost', async () => {
  const words = Array.from({ length: 6 }, (_, i) => ['chdef', 'n1', '-p', `groups=g${i}`])
  const results = await Promise.all([
    ...words.map((each) => run(each)),
    run(['chdef', 'n1', 'usercomment=x']),
  ])
  expect(results.map(({ code }) => code)).toEqual(results.map(() => 0))
  const node = await store.nodes.get('n1' as NodeName)
  expect([...node!.groups].sort()).toEqual(['compute', 'g0', 'g1', 'g2', 'g3', 'g4', 'g5'])
  expect(node!.usercomment).toBe('x')
})

test('bad names of every type are refused, exit 1 or 2, and nothing is written', async () => {
  const everything = async () => [
    await store.nodes.list(),
    await store.groups.list(),
    await store.osimages.list(),
  ]
  const before = await everything()
  const names = ['a/b', '..', 'a\nb', "a'b", 'a"b', '$(reboot)', '-x', 'x'.repeat(300), '\ufffd', ' ', '`id`']
  const some = ['a/b', '$(reboot)', '-x', ' ']
  const calls = [
    ...names.map((name) => ['mkdef', '-o', name]),
    ...some.map((name) => ['mkdef', '-t', 'group', '-o', name]),
    ...some.map((name) => ['mkdef', '-t', 'osimage', '-o', name]),
    ['chdef', '-o', 'a/b', 'lock=1'],
    ['rmdef', '-t', 'group', '-o', '..'],
    ['chdef', 'n1', '-p', 'groups=../x'],
    ['mkdef', 'x', 'osimage=../img'],
  ]
  while (calls.length > 0)
    await Promise.all(
      calls.splice(0, 3).map(async (words) => {
        const { code, out, err } = await run(words)
        expect({ words, code: code === 1 || code === 2, out }).toEqual({ words, code: true, out: '' })
        expect(err).not.toMatch(/\n\s+at |internal error/)
      }),
    )
  // Bytes that are no UTF-8 can only come from a shell.
  const shell = `"$0" "$1" mkdef -o "$(printf 'n\\377')" 2>&1; echo "code $?"`
  const { stdout: said } = await execute('sh', ['-c', shell, process.execPath, main], {
    env: { PATH: process.env.PATH, SYSCLONE_SERVER: socket },
  })
  expect(said).toMatch(/not a node name .*\ncode 1\n$/s)
  expect(await everything()).toEqual(before)
}, 60_000)

const refused: [words: string[], code: number, err: RegExp][] = [
  [['mkdef', '-d', 'x'], 2, /-d is for -t group/],
  [['mkdef', '-t', 'group', '-d', 'x'], 2, /-d needs -w/],
  [['mkdef', '-z', '/nowhere'], 1, /\/nowhere: the file can not be read/],
  [['mkdef', '-z', '/dev/null', 'ip=10.0.0.9'], 2, /with -z/],
  [['chdef', '-z', '-', '-p'], 2, /cannot be used with/],
  [['chdef', 'lock=1'], 2, /names are needed: -o NAMES, or -w/],
  [['lsdef', '-w', 'arch'], 1, /not a selection \(arch/],
  [['lsdef', '-w', 'nope==1'], 1, /no such attribute \(nope/],
  [['lsdef', '-t', 'network', '-z'], 2, /not for networks/],
  [['export', '-o', 'n1'], 2, /-o needs -t/],
  [['completion', 'fish'], 2, /Allowed choices are bash/],
]
test('what is refused', async () => {
  for (const [words, code, err] of refused) {
    const found = await run(words)
    expect({ words, code: found.code, out: found.out }).toEqual({ words, code, out: '' })
    expect(found.err).toMatch(err)
  }
})

test('bash completes commands, options, types, attributes and names', async () => {
  const { out } = await run(['completion', 'bash'])
  const script = file('completion', out)
  execFileSync('bash', ['-n', script])
  const program = `#!/bin/sh\nexec ${process.execPath} ${main} "$@"\n`
  const path = `${folder}:${process.env.PATH}`
  writeFileSync(join(folder, 'sysclone'), program, { mode: 0o755 })
  symlinkSync(main, join(folder, 'lsdef'))
  // The server is in this process: waiting must not stop it.
  const complete = async (...words: string[]) => {
    const program =
      '. "$0"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sysclone; echo "${COMPREPLY[*]}"'
    const env = { PATH: path, SYSCLONE_SERVER: socket }
    const { stdout } = await execute('bash', ['--norc', '-c', program, script, ...words], { env })
    return stdout.trim()
  }
  expect(await complete('sysclone', 'mk')).toBe('mkdef')
  expect(await complete('sysclone', 'lsdef', '--')).toBe('--server --json --table --help')
  expect(await complete('lsdef', '-t', 'g')).toBe('group')
  expect(await complete('sysclone', 'mkdef', '-o', 'x', 'inst')).toBe(
    'installdisk= installretries= installnic=',
  )
  expect(await complete('sysclone', 'chdef', '-t', 'group', 'compute', 'mem')).toBe('members=')
  expect(await complete('lsdef', 'n1,n')).toBe('n1,n1 n1,n2 n1,n3')
  expect(await complete('sysclone', 'nodeset', 'n1', 'osimage', '=', 'i')).toBe('img')
  expect(await complete('sysclone', 'nodeset', 'co')).toBe('compute')
  expect(await complete('imgcapture', 'n1', '-t', '')).toBe('sysclone diskless')
  expect(await complete('imgcapture', '-t', 'diskless', 'n')).toBe('n1 n2 n3')
  expect(await complete('imgcapture', '-t', 'diskless', 'n1', '-o', 'i')).toBe('img')
})
