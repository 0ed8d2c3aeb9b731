// What is done with nodes and images: deployments, captures, and the lists of what there is.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import type { ImageName } from '../../src/address.ts'
import { parseImageName, parseNodeName } from '../../src/address.ts'
import { type Fault, faultOf, UserError } from '../../src/fault.ts'
import { changeOsimage, kindOfName, refuseOtherKind } from '../../src/image/osimage.ts'
import type { Job } from '../../src/job.ts'
import { osimageFor } from '../../src/node/group.ts'
import type { Node } from '../../src/node/node.ts'
import type { AdminNeeds } from './admin-needs.ts'
import { inRange, readRange } from './admin-range.ts'
import { Capture, Deploy, Expression, LastJobs, OneJob } from './admin-schemas.ts'

/** The result for one object: what was done, or why it was not. */
export type Result = { object: string; text: string } | { object: string; fault: Fault }

export function actionRoutes(app: FastifyInstance, needs: AdminNeeds) {
  const { store, images, deploy, emit } = needs
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()

  typed.get('/noderange', { schema: { querystring: Expression } }, async ({ query }) => {
    const { nodes, readings } = await readRange(store, query.expr)
    return {
      names: nodes.map(({ name }) => name),
      readings: readings.map(({ names, ...reading }) => ({ ...reading, count: names.length })),
    }
  })

  typed.post('/deployments', { schema: { body: Deploy } }, async ({ body }) => {
    const { noderange, state, image, version } = body
    if (image === undefined ? version !== undefined : state !== 'osimage')
      throw new UserError('bad request', { what: `image and version with ${state}`, allowed: 'osimage' })
    const nodes = await inRange(store, noderange)
    const groups = await store.groups.list()
    const wanted = image === undefined ? undefined : parseImageName(image)
    if (wanted !== undefined) await mustExist(wanted, version) // once, before the first node of many is touched
    const results: Result[] = []
    for (const node of nodes) results.push(await resultOf(node, () => act(node)))
    const done = results.filter((result) => 'text' in result).length
    if (state !== 'stat')
      emit('admin.change', {
        who: 'local',
        what: `nodeset ${state} (${done})`,
        object: noderange.slice(0, 200),
      })
    return { results }

    function act(node: Node): Promise<string> {
      if (state === 'stat') return deploy.stat(node.name)
      if (state !== 'osimage') return deploy.setState(node.name, state)
      const name = wanted ?? osimageFor(node, groups)
      if (name !== undefined) return deploy.arm(node.name, name, version)
      throw new UserError('the node has no osimage', {
        what: 'osimage is empty, and no group of the node has one',
        allowed: 'nodeset NODE osimage=NAME',
        object: node.name,
      })
    }
  })

  typed.post('/captures', { schema: { body: Capture } }, async ({ body }) => {
    const { node: _, image: __, profile, type = 'sysclone', ...how } = body
    const node = parseNodeName(body.node)
    if (!(await store.nodes.get(node)))
      throw new UserError('no such node', { what: node, object: node, status: 404 })
    const image = parseImageName(body.image)
    const osimage = await store.osimages.get(image)
    refuseOtherKind(image, kindOfName(osimage, images.get(image)), type)
    const excludes = osimage?.exclude
    const wanted = { node, image, type, ...(excludes && { excludes }), ...how }
    if (how.check === undefined && profile !== undefined) {
      const attrs = { profile, ...(type === 'diskless' && { provmethod: type }) }
      await store.osimages.put(changeOsimage(osimage ?? { name: image }, { op: 'set', attrs }))
    }
    const { job } = await needs.capture(wanted)
    const what = how.check === undefined ? `imgcapture ${image}` : `imgcapture --check ${image}`
    emit('admin.change', { who: 'local', what, object: node, job })
    return { job }
  })

  typed.get('/key', async () => needs.publicIdentity())

  typed.get('/jobs', { schema: { querystring: LastJobs } }, async ({ query: { last = '100' } }) => ({
    jobs: (await store.jobs.list(Number(last))).map(shownJob),
  }))
  typed.get('/jobs/:job', { schema: { params: OneJob } }, async ({ params: { job: id } }) => {
    const job = await store.jobs.get(id)
    if (job) return { job: shownJob(job) }
    throw new UserError('no such job', {
      what: id,
      allowed: 'those of sysclone jobs',
      object: id,
      status: 404,
    })
  })
  typed.get('/leases', async () => ({ leases: await needs.leases() }))

  async function mustExist(name: ImageName, version: number | undefined) {
    const bootOnly = (await store.osimages.get(name))?.provmethod === 'boot'
    if (bootOnly && version === undefined) return
    if (bootOnly)
      throw new UserError('a boot-only osimage has no versions', {
        what: `${name}:${version}`,
        allowed: name,
        object: name,
      })
    if (images.get(name, version)) return
    const isDefined = (await store.osimages.get(name)) !== undefined
    if (isDefined && images.get(name) === undefined)
      throw new UserError('the osimage has no version yet', {
        what: name,
        allowed: `imgcapture NODE -o ${name} first`,
        object: name,
        status: 404,
      })
    const versions = images.list().filter((each) => each.name === name)
    throw new UserError('no such osimage', {
      what: version === undefined ? name : `${name}:${version}`,
      allowed: versions.length > 0 ? versions.map((each) => each.version).join(' ') : 'those of lsimage',
      object: name,
      status: 404,
    })
  }
}

async function resultOf(node: Node, act: () => Promise<string>): Promise<Result> {
  try {
    return { object: node.name, text: await act() }
  } catch (error) {
    return { object: node.name, fault: { ...faultOf(error), object: node.name } }
  }
}

/** The key that it may trust is asked of the node. */
const shownJob = ({ hostKey: _, jumpHostKey: __, ...job }: Job) => job
