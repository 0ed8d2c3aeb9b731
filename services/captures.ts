// Captures and looks at golden clients, as jobs: how to reach the machine, and what follows when one has ended.
import type { ImageName } from '../src/address.ts'
import { UserError } from '../src/fault.ts'
import { needsSquash } from '../src/image/layers.ts'
import { type Job, makesVersion } from '../src/job.ts'
import type { Node } from '../src/node/node.ts'
import { readJumpHost } from '../src/node/values.ts'
import type { CaptureRequest } from './http/admin-needs.ts'
import type { Images } from './images/store.ts'
import type { openJobs } from './jobs.ts'
import type { ToMain } from './process.ts'
import type { Store } from './store/store.ts'

type Needs = Pick<Store, 'nodes' | 'osimages'> & {
  images: Images
  jobs: Awaited<ReturnType<typeof openJobs>>
  /** Rows about images are brought up to date. */
  described: () => Promise<void>
  report: (error: unknown) => void
}

export function makeCaptures({ nodes, osimages, images, jobs, described, report }: Needs) {
  async function start(request: CaptureRequest) {
    const golden = await nodes.get(request.node)
    if (!golden)
      throw new UserError('no such node', { what: request.node, object: request.node, status: 404 })
    const { name, ip, sshport, sshuser = 'root', sshhostkey, cloneHostKeys } = golden
    if (!ip)
      throw new UserError('the node has no address', {
        what: 'ip is empty',
        allowed: `chdef ${name} ip=...`,
        object: name,
      })
    const hostKey = request.acceptHostkey ?? sshhostkey ?? cloneHostKeys?.[0]
    const scrub = (await osimages.get(request.image))?.scrub
    const common = {
      node: name,
      host: ip,
      port: sshport ?? 22,
      user: sshuser,
      image: request.image,
      ...(request.excludes && { excludes: request.excludes }),
      ...(hostKey && { hostKey }),
      ...jumpOf(golden, request.acceptJumpHostkey),
      ...(scrub && { scrub }),
      ...(request.type && { type: request.type }),
    }
    const { check: out, place, hold } = request
    if (out !== undefined) return { job: await jobs.start({ kind: 'check', ...common, out }) }
    const more = {
      ...(place !== undefined && { place }),
      ...(hold && { hold }),
    }
    return { job: await jobs.start({ kind: 'capture', ...common, ...more }) }
  }

  async function ended({ job: id, fault, result }: Extract<ToMain, { type: 'job-ended' }>) {
    const job = jobs.running(id)
    if (job && makesVersion(job) && !fault) await takeOver(job).catch(report) // before anybody hears that it is there
    if (job?.kind === 'check' && !fault) await rememberHostKeys(job).catch(report)
    await jobs.end(id, { ...(fault && { fault }), ...(result !== undefined && { result }) })
    if (job?.kind === 'capture' && !fault) await squashLong(job.image).catch(() => {}) // another capture has begun
  }

  /** After many captures a version has many layers: the next one has the same tree in few. */
  async function squashLong(name: ImageName | undefined) {
    const newest = name === undefined ? undefined : images.get(name)
    if (newest && needsSquash(newest))
      await jobs.start({ kind: 'squash', image: newest.name, version: newest.version })
  }

  async function takeOver(job: Job) {
    await described()
    await rememberHostKeys(job)
  }

  /** The keys that a job was allowed to trust are those to expect from now on. */
  async function rememberHostKeys({ node, hostKey, jumpHostKey }: Job) {
    const [golden] = node === undefined ? [] : await nodes.list([node])
    const keys = {
      ...(hostKey && { sshhostkey: hostKey }),
      ...(jumpHostKey && { sshjumphostkey: jumpHostKey }),
    }
    const { sshhostkey, sshjumphostkey } = { ...golden, ...keys }
    if (golden && (golden.sshhostkey !== sshhostkey || golden.sshjumphostkey !== sshjumphostkey))
      await nodes.change([golden.name], (each) => ({ ...each, ...keys }))
  }

  return { start, ended }
}

/** The machine that the way to a golden client leads over. */
function jumpOf({ sshjump, sshjumphostkey, sshuser = 'root' }: Node, accepted: string | undefined) {
  if (sshjump === undefined) return {}
  const { user = sshuser, host, port } = readJumpHost(sshjump)
  const hostKey = accepted ?? sshjumphostkey
  return { jump: { host, port, user, ...(hostKey && { hostKey }) } }
}
