// Real captures: a tree of hard cases through a real sshd, GNU tar and zstd, judged by other people's tools.
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CaptureNeeds } from '../../services/capture/capture.ts'
import { captureImage } from '../../services/capture/capture.ts'
import { captureScripts } from '../../services/capture/scripts.ts'
import { openImages } from '../../services/images/store.ts'
import { parseImageName } from '../../src/address.ts'
import { parseCaptureReport } from '../../src/image/capture-report.ts'
import {
  inNanoseconds,
  isSocketLine,
  parseListLine,
  parseManifestLine,
  renderCompareLine,
} from '../../src/image/compare-line.ts'
import type { ImageVersion } from '../../src/image/version.ts'
import {
  goldenNeeds,
  goldenScripts,
  initrd,
  makeTree,
  probeAnswer,
  release,
  shim,
  signedGrub,
  startSshd,
} from './golden.ts'

const dir = mkdtempSync(join(tmpdir(), 'sysclone-capture-'))
const tree = join(dir, 'tree')
const imagesDir = join(dir, 'images')
const { list, archive } = await captureScripts()
let fresh = 0
let sshd: Awaited<ReturnType<typeof startSshd>>
let images: Awaited<ReturnType<typeof openImages>>
const events: { type: string; percent?: unknown }[] = []

beforeAll(async () => {
  execFileSync('mkdir', ['-p', tree, join(dir, 'ssh')])
  makeTree(tree)
  sshd = await startSshd(join(dir, 'ssh'))
  images = await openImages(imagesDir)
})
afterAll(async () => {
  await sshd?.close()
  rmSync(dir, { recursive: true, force: true })
})

const capture = (more: Partial<CaptureNeeds> = {}, answer = {}) =>
  captureImage({
    ...goldenNeeds({ sshd, tree, images }, `img${++fresh}`), // none of it has been captured before
    scripts: goldenScripts(probeAnswer(tree, answer)),
    emit: (type, fields) => events.push({ type, ...fields }),
    ...more,
  })

/** Lines of the tree as list.sh gives them, without what is local to a file system. */
function listed(root: string): string[] {
  const { stdout } = spawnSync('sh', ['-c', list], { input: `${root}\nplain\n/\n`, maxBuffer: 1 << 28 })
  const lines = inNanoseconds(stdout.toString('latin1')).split('\n')
  expect(lines.splice(-2)).toEqual(['end', ''])
  expect(lines.shift()).toMatch(/^begin \d+\.\d{9}$/)
  return lines
    .filter((line) => !isSocketLine(line))
    .map((line) => renderCompareLine(parseListLine(line)))
    .sort()
}

const timesOfFolders = (root: string) =>
  execFileSync('sh', ['-c', "find . -type d -printf '%P %T@\\n' | sort"], { cwd: root }).toString()

const left = /\t(etc\/machine-id|etc\/ssh\/ssh_host_ed25519_key|tmp\/rubbish)\t/
const manifestLines = (version: ImageVersion) =>
  zstdDecompressSync(readFileSync(images.blobPath(version.manifest.digest)))
    .toString('latin1')
    .split('\n')
    .slice(0, -1)

for (const [where, compress] of [
  ['there', true],
  ['here', false],
] as const) {
  describe(`compressed ${where}`, () => {
    let version: ImageVersion
    beforeAll(async () => {
      version = (await capture({}, { zstd: compress })).version
    })

    test('the version says what was captured', () => {
      expect(version).toMatchObject({
        name: expect.stringMatching(/^img/),
        source: 'golden',
        arch: 'x86_64',
        firmware: 'bios',
        kernelRelease: release,
        os: { id: 'debian', version: '12', name: 'Debian GNU/Linux 12 (bookworm)' },
        sshHostKeyTypes: ['ecdsa', 'ed25519', 'rsa'],
      })
      expect(version.layout.disks[0]!.partitions[2]!.filesystem).toEqual({
        type: 'ext4',
        uuid: '0e5e51b4-3b1c-4d71-b7ac-75dfa5fcd29a',
        mountpoint: '/',
        usedBytes: 812345344,
        features: 'has_journal extent metadata_csum',
      })
      expect(version.layers.at(-1)!.directories).toBe(true)
      expect(version.layers.slice(0, -1).every((layer) => !layer.directories)).toBe(true)
    })

    test('all layers unpacked by GNU tar give the tree again, to the nanosecond', () => {
      const out = mkdtempSync(join(dir, 'out-'))
      for (const layer of version.layers) unpack(images.blobPath(layer.digest), out)
      const expected = listed(tree).filter((line) => !left.test(line))
      expect(listed(out)).toEqual(expected)
      expect(timesOfFolders(out)).toBe(timesOfFolders(tree))
      expect(execFileSync('getcap', [join(out, 'usr/share/noise')]).toString()).toContain('cap_net_raw=ep')
      const inode = (path: string) => execFileSync('stat', ['-c', '%i', join(out, path)]).toString()
      expect(inode('etc/alias-of-tool')).toBe(inode('usr/bin/tool'))
      expect(Number(execFileSync('stat', ['-c', '%b', join(out, 'usr/share/sparse')]))).toBeLessThan(100)
    })

    test('the manifest is the file list, with digests that sha256sum confirms', () => {
      const lines = manifestLines(version)
      expect(lines.map((line) => line.split('\t').slice(0, 9).join('\t'))).toEqual(
        listed(tree).filter((line) => !left.test(line)),
      )
      for (const line of lines) {
        const { type, path, sha256 } = parseManifestLine(line)
        if (type !== 'f') continue
        const file = Buffer.concat([Buffer.from(`${tree}/`), Buffer.from(path, 'latin1')])
        expect(execFileSync('sha256sum', { input: readFileSync(file) }).toString()).toBe(`${sha256}  -\n`)
      }
      const noise = lines.map(parseManifestLine).find((line) => line.path === 'usr/share/noise')
      expect(noise).toMatchObject({
        mtimeNs: expect.stringMatching(/123456789$/),
        xattrs: expect.any(String),
      })
    })

    test('zstd, tar and skopeo read it', () => {
      for (const layer of version.layers) {
        expect(spawnSync('zstd', ['-t', '-q', images.blobPath(layer.digest)]).status).toBe(0)
      }
      const inspected = JSON.parse(
        execFileSync('skopeo', ['inspect', `oci:${imagesDir}:${version.name}:${version.version}`]).toString(),
      )
      expect(inspected.Labels['sysclone.source']).toBe('golden')
      expect(inspected.Layers).toEqual(version.layers.map((layer) => layer.digest))
      const copy = mkdtempSync(join(dir, 'copy-'))
      execFileSync('skopeo', [
        'copy',
        '-q',
        `oci:${imagesDir}:${version.name}:${version.version}`,
        `oci:${copy}:x`,
      ]) // checks digests, diff ids
    })

    test('frames are 4 MiB of tar each, the table at the end says where', async () => {
      const big = manifestLines(version)
        .map(parseManifestLine)
        .find((line) => line.path === 'etc/alias-of-tool')!
      const layer = await images.openLayer(images.blobPath(version.layers[big.layer]!.digest))
      const content = await layer.readFile(big.offset, 1 << 30).finally(layer.close)
      expect(content.equals(readFileSync(join(tree, 'usr/bin/tool')))).toBe(true)
    })

    test('the loaders that its distribution has signed are there, and its own initramfs', () => {
      const text = (blob: { digest: ImageVersion['digest'] } | undefined) =>
        blob && readFileSync(images.blobPath(blob.digest), 'utf8')
      expect([text(version.shim), text(version.grub)]).toEqual([shim, signedGrub])
      expect(text(version.initrd)).toBe(initrd)
    })

    test('kernel and modules are there for the ramdisk', () => {
      expect(
        readFileSync(images.blobPath(version.kernel.digest)).equals(Buffer.alloc(70_000, 'kernel')),
      ).toBe(true)
      const cpio = gunzipSync(readFileSync(images.blobPath(version.modules.digest)))
      const out = mkdtempSync(join(dir, 'modules-'))
      execFileSync('cpio', ['-id', '--quiet'], { cwd: out, input: cpio })
      const base = join(out, 'lib/modules', release)
      const names = readdirSync(base, { recursive: true, encoding: 'utf8' }).filter((name) =>
        name.endsWith('.ko'),
      )
      // lpfc is in the list because it runs on the golden client; sound never is.
      expect(names.sort()).toEqual([
        'kernel/drivers/net/virtio_net.ko',
        'kernel/drivers/scsi/lpfc/lpfc.ko',
        'kernel/fs/ext4/ext4.ko',
        'kernel/fs/jbd2/jbd2.ko',
      ])
      const modprobe = (...args: string[]) =>
        execFileSync('modprobe', ['-d', out, '-S', release, '-n', '--show-depends', ...args]).toString()
      expect(modprobe('virtio:d00000001v00001AF4')).toContain('virtio_net.ko')
      expect(modprobe('ext4')).toMatch(/jbd2\.ko[\s\S]*ext4\.ko/)
      const original = join(tree, 'usr/lib/modules', release, 'kernel/fs/ext4/ext4.ko')
      expect(readFileSync(join(base, 'kernel/fs/ext4/ext4.ko')).equals(readFileSync(original))).toBe(true)
    })
  })
}

test('list.sh names what lies below a mount point by its whole path', () => {
  const input = `${tree}\nplain\n/usr/share\n/var\n`
  const { stdout } = spawnSync('sh', ['-c', list], { input })
  const paths = inNanoseconds(stdout.toString('latin1'))
    .split('\n')
    .slice(1, -2)
    .filter((line) => !isSocketLine(line))
    .map((line) => parseListLine(line).path)
  expect(paths).toEqual(
    expect.arrayContaining(['usr/share/empty', 'usr/share/\xff\xfe-not-utf8', 'var/null', 'var/lib/empty']),
  )
  expect(paths.filter((path) => !/^(usr\/share|var)\/./.test(path))).toEqual([]) // the mount points are their parents' entries
})

test('progress never falls and ends at 100', () => {
  const percents = events
    .filter((event) => event.type === 'capture.progress')
    .map((event) => Number(event.percent))
  const first = percents.slice(0, percents.indexOf(100) + 1)
  expect(first).toEqual([...first].sort((a, b) => a - b))
  expect(first.at(-1)).toBe(100)
})

test('progress tells files, bytes, rate and time left, and ends with what the report says', async () => {
  const told: Record<string, unknown>[] = []
  let clock = Date.parse('2026-01-01T00:00:00Z')
  const { version } = await capture({
    now: () => {
      clock += 300 // at each look: of a copy that takes no time there would be little to tell
      return clock
    },
    emit: (type, fields) => type === 'capture.progress' && told.push(fields),
  })
  const report = parseCaptureReport(readFileSync(images.blobPath(version.report!.digest), 'utf8'))
  const archive = told.filter(({ phase }) => phase === 'archive')
  const measured = archive.filter(({ rate }) => rate !== undefined)
  expect(measured.length).toBeGreaterThan(1)
  for (const fields of measured) {
    expect(fields).toMatchObject({ node: 'golden', image: version.name, totalFiles: report.fetched.entries })
    expect(fields.rate).toBeGreaterThan(0)
    expect(fields.secondsLeft).toBeGreaterThanOrEqual(0)
    expect(fields.bytes).toBeGreaterThan(0)
    expect(Number(fields.files ?? 0)).toBeLessThanOrEqual(report.fetched.entries)
  }
  expect(measured.at(-1)!.text).toMatch(/^\d+ of \d+ files, \d+ MB, \d+\.\d MB\/s, \d+:\d\d left$/)
  for (const key of ['bytes', 'files', 'percent']) {
    const values = told.map((fields) => Number(fields[key] ?? 0))
    expect(values).toEqual(values.toSorted((a, b) => a - b))
  }
  expect(told.at(-1)).toMatchObject({
    phase: 'done',
    percent: 100,
    bytes: report.movedBytes,
    files: report.fetched.entries,
  })
})

describe('what goes wrong', () => {
  const versions = () => images.list().map(({ name, version }) => `${name}:${version}`)
  const noTrace = () => expect(readdirSync(join(imagesDir, 'staging'))).toEqual([])

  test('unknown host key: the fingerprint is shown, nothing is captured', async () => {
    const target = { node: 'golden', host: '127.0.0.1', port: sshd.port, user: 'root', hostKey: undefined }
    const fault = {
      error: 'ssh host key is not known yet',
      allowed: expect.stringContaining(`--accept-hostkey ${sshd.hostKey}`),
    }
    await expect(capture({ target })).rejects.toMatchObject({ fault })
    noTrace()
  })

  test('a file named .wh.x is refused by name', async () => {
    writeFileSync(join(tree, 'usr/share/.wh.noise'), '')
    const before = versions()
    await expect(capture()).rejects.toThrow(/usr\/share\/\.wh\.noise/)
    rmSync(join(tree, 'usr/share/.wh.noise'))
    expect(versions()).toEqual(before)
    noTrace()
  })

  test('a file that vanishes between list and archive is no fault', async () => {
    const doomed = join(tree, 'usr/share/doomed')
    writeFileSync(doomed, 'soon gone')
    const { version } = await capture({ scripts: { ...scripts(), list: `${list}\nrm -f '${doomed}'\n` } })
    const paths = manifestLines(version).map((line) => parseManifestLine(line).path)
    expect(paths).not.toContain('usr/share/doomed')
    expect(paths).toContain('usr/share/noise')
  })

  test('a failing archiver fails the capture with its own words', async () => {
    const broken = archive.replace('--null --verb', '--no-such-option --null --verb')
    expect(broken).not.toBe(archive)
    await expect(capture({ scripts: { ...scripts(), archive: broken } })).rejects.toThrow(/no-such-option/)
    noTrace()
  })

  test('a list cut short is noticed', async () => {
    const cut = { ...scripts(), list: `${list.replace(/ {4}echo end\n/, '')}` }
    await expect(capture({ scripts: cut })).rejects.toThrow(/its end is missing/)
  })

  test.each([
    ['that is not packed', 'zstd) list ;;', /is damaged.*file list: .*frame/s],
    [
      'whose packing was cut',
      'zstd) list | zstd -1 -q -c | head -c 300 ;;',
      /is damaged.*file list: .*end of file/s,
    ],
  ])('a list %s is noticed', async (_, instead, why) => {
    const broken = list.replace('zstd) list | zstd -1 -q -c ;;', instead)
    expect(broken).not.toBe(list)
    await expect(capture({ scripts: { ...scripts(), list: broken } })).rejects.toThrow(why)
    noTrace()
  })

  test('a missing kernel is named', async () => {
    await expect(capture({}, { kernel: 'boot/vmlinuz-none' })).rejects.toThrow(/boot\/vmlinuz-none/)
    expect(readdirSync(join(imagesDir, 'staging'))).toHaveLength(1) // what has come is of use to the next attempt
    rmSync(join(imagesDir, 'staging'), { recursive: true })
  })

  test('a stopped capture leaves every older version as it was', async () => {
    const before = versions()
    const stop = new AbortController()
    const slow = { ...scripts(), archive: archive.replace('cd "$root"', 'cd "$root"; sleep 1') }
    const emit: CaptureNeeds['emit'] = (_, fields) => {
      if ('phase' in fields && fields.phase === 'archive') setTimeout(() => stop.abort(), 300)
    }
    await expect(capture({ scripts: slow, signal: stop.signal, emit })).rejects.toThrow(/capture was stopped/)
    expect(versions()).toEqual(before)
    expect(await images.verify(images.list()[0]!)).toEqual([])
    noTrace()
  })

  test('a killed capture leaves every older version as it was; the next one takes over what it left', async () => {
    const before = versions()
    const child = execKilled()
    expect(child.stdout, child.stderr).toContain('archive') // it was in the middle
    expect(child.signal).toBe('SIGKILL')
    expect(readdirSync(join(imagesDir, 'staging'))).toHaveLength(1)
    const again = await openImages(imagesDir)
    expect(again.list().map(({ name, version }) => `${name}:${version}`)).toEqual(before)
    await capture({ image: parseImageName('killed') })
    noTrace()
  })

  test('a blob with other content is found by its digest', async () => {
    const version = images.list()[0]!
    const path = images.blobPath(version.layers[0]!.digest)
    const sound = readFileSync(path)
    const damaged = Buffer.from(sound)
    damaged[damaged.length >> 1]! ^= 1
    chmodSync(path, 0o644)
    writeFileSync(path, damaged)
    const faults = await images.verify(version)
    expect(faults.map((fault) => fault.fault.what)).toEqual([
      expect.stringContaining(version.layers[0]!.digest),
    ])
    writeFileSync(path, sound)
    expect(await images.verify(version)).toEqual([])
  })

  const scripts = () => goldenScripts(probeAnswer(tree))

  /** Runs a capture in a process of its own that kills itself, as with -9, in the middle of the archive. */
  function execKilled() {
    const needs = { port: sshd.port, hostKey: sshd.hostKey, privateKey: sshd.privateKey, imagesDir, tree }
    const slow = { ...scripts(), archive: archive.replace('cd "$root"', 'cd "$root"; sleep 1') }
    const here = join(import.meta.dirname, '../..')
    const code = `
      import { captureImage } from '${here}/services/capture/capture.ts'
      import { openImages } from '${here}/services/images/store.ts'
      const n = ${JSON.stringify(needs)}
      await captureImage({
        target: { node: 'golden', host: '127.0.0.1', port: n.port, user: 'root', hostKey: n.hostKey },
        privateKey: n.privateKey, image: 'killed', images: await openImages(n.imagesDir), root: n.tree,
        scripts: ${JSON.stringify(slow)}, signal: new AbortController().signal,
        emit: (_, { phase }) => {
          console.log(phase)
          if (phase === 'archive') setTimeout(() => process.kill(process.pid, 'SIGKILL'), 300)
        },
      })`
    const file = join(dir, 'killed.ts')
    writeFileSync(file, code)
    return spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 20_000 })
  }
})

function unpack(layer: string, into: string) {
  expect(existsSync(layer)).toBe(true)
  const flags = ['--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '-p']
  execFileSync('sh', ['-c', `zstd -dcq "$1" | tar -x -C "$2" ${flags.join(' ')} -f -`, 'sh', layer, into])
}
