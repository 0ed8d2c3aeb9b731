// What the admin API takes. What it answers is in the routes.
//   GET    /nodes, /groups, /osimages, /networks   ?objects=&attrs=&where=  -> {objects: [{name, attrs: {attr: text}}]}
//   POST   /nodes, /groups, /osimages   Define   -> {objects: [name]}     all of them or none
//   PATCH  /nodes, /groups, /osimages   Modify   -> {objects: [name]}     all of them or none
//   DELETE /nodes, /groups, /osimages   Remove   -> {objects: [name]}     all of them or none
//   POST   /definitions        Definitions -> {objects: [name]}     all of them or none
//   GET    /noderange ?expr=              -> {names: [name], readings: [{text, how, count, depth}]}
//   POST   /deployments        Deploy     -> {results: [{object, text} | {object, fault}]}
//   POST   /captures           Capture    -> {job}
//   GET    /key                           -> {publicKey, fingerprint, path}
//   GET    /jobs ?last=                   -> {jobs: [Job]}             oldest first
//   GET    /jobs/ID                       -> {job: Job}
//   GET    /images                        -> {images: [...]}, and the rest of /images in admin-images.ts
//   GET    /leases                        -> {leases: [...]}
//   GET    /audit ?object=&last=          -> {entries: [{time, who, what, object, before?, after?}]}  oldest first
//   GET    /discovered                    -> {machines: [...]}
//   POST   /discovered/adopt   Adopt      -> {objects: [name], mac}
//   POST   /explain            Explain    -> {mac, node?, policy, clients, boots, boot?} | {runs}  a question: nothing changes
//   GET    /openapi.json                  -> all of this as OpenAPI
//   GET    /events ?node=&nodes=&since=&follow=&job=&things= -> text/event-stream
// Errors: 4xx and 5xx with {error, what, allowed?, object?}.
import { Type } from 'typebox'
import { askerNames } from '../../src/dhcp/asking.ts'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
/** A UDP payload. */
const base64 = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: 90_000 })
const objects = Type.Array(Type.String({ minLength: 1, maxLength: 1_000_000 }), {
  minItems: 1,
  maxItems: 65_536,
})
const attrs = Type.Record(
  Type.String({ minLength: 1, maxLength: 100 }),
  Type.String({ maxLength: 1_000_000 }),
  {
    maxProperties: 100,
  },
)

/** Selections as on the command line, with `::` between: `arch==x86_64::groups=~rack`. */
const where = Type.String({ minLength: 1, maxLength: 4096 })

export const Define = Type.Object({ objects, attrs }, closed)
export const Modify = Type.Object(
  {
    objects: Type.Optional(objects),
    where: Type.Optional(where),
    attrs,
    op: Type.Union([Type.Literal('set'), Type.Literal('add'), Type.Literal('remove')]),
  },
  closed,
)
export const Remove = Type.Object({ objects: Type.Optional(objects), where: Type.Optional(where) }, closed)
/** Definitions of any type, written all or none: `make` new ones, `change` what exists, `put` either. */
export const Definitions = Type.Object(
  {
    mode: Type.Union([Type.Literal('make'), Type.Literal('change'), Type.Literal('put')]),
    entries: Type.Array(
      Type.Object(
        {
          type: Type.Union([Type.Literal('node'), Type.Literal('group'), Type.Literal('osimage')]),
          name: Type.String({ minLength: 1, maxLength: 1000 }),
          attrs,
        },
        closed,
      ),
      { minItems: 1, maxItems: 65_536 },
    ),
  },
  closed,
)
/** `objects` and `attrs` as on the command line, with commas; without `attrs` all that have a value. */
export const List = Type.Object(
  {
    objects: Type.Optional(Type.String({ minLength: 1, maxLength: 1_000_000 })),
    attrs: Type.Optional(Type.String({ maxLength: 10_000 })),
    where: Type.Optional(where),
  },
  closed,
)
export const Expression = Type.Object({ expr: Type.String({ maxLength: 1_000_000 }) }, closed)
export const Deploy = Type.Object(
  {
    noderange: Type.String({ minLength: 1, maxLength: 4_000_000 }),
    state: Type.Union([
      Type.Literal('osimage'),
      Type.Literal('boot'),
      Type.Literal('offline'),
      Type.Literal('stat'),
    ]),
    image: Type.Optional(name), // absent: the osimage of the node
    version: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000 })), // absent: the newest
  },
  closed,
)
/** The code that the machine shows, and what the node is to be. */
export const Adopt = Type.Object(
  { code: Type.String({ pattern: '^[0-9]{6}$' }), name, attrs: Type.Optional(attrs) },
  closed,
)
const fingerprint = Type.String({ pattern: '^SHA256:[A-Za-z0-9+/]{43}$' })
/** A line for the shell of the golden client. */
const command = Type.String({ pattern: '^[^\\x00\\n]+$', maxLength: 4000 })
export const Capture = Type.Object(
  {
    node: name,
    image: name,
    type: Type.Optional(Type.Union([Type.Literal('sysclone'), Type.Literal('diskless')])), // default: sysclone
    profile: Type.Optional(name), // of the osimage
    place: Type.Optional(Type.String({ pattern: '^/', maxLength: 1000 })), // a folder of the server
    check: Type.Optional(Type.String({ pattern: '^/', maxLength: 1000 })), // a unix socket for the report: nothing is copied
    hold: Type.Optional(
      Type.Object(
        {
          snapshot: Type.Optional(Type.Boolean()),
          freeze: Type.Optional(command),
          thaw: Type.Optional(command),
        },
        closed,
      ),
    ),
    acceptHostkey: Type.Optional(fingerprint),
    acceptJumpHostkey: Type.Optional(fingerprint),
  },
  closed,
)
const last = Type.String({ pattern: '^([1-9][0-9]{0,4}|100000)$' }) // a query is text
/** Without `last` the last 100, as everywhere. */
export const LastJobs = Type.Object({ last: Type.Optional(last) }, closed)
export const OneJob = Type.Object({ job: name }, closed)
/**
 * Of a machine: what it would get as each of `clients`, and what its boot number `boot` (-1: the last) got. Of a capture:
 * what each request would get. `config`: another configuration than the running one.
 */
export const Explain = Type.Object(
  {
    machine: Type.Optional(name),
    boot: Type.Optional(Type.Integer({ minimum: -1000, maximum: -1 })),
    clients: Type.Optional(
      Type.Array(Type.Union(askerNames.map((each) => Type.Literal(each))), { maxItems: 20 }),
    ),
    exchanges: Type.Optional(
      Type.Array(
        Type.Object(
          {
            request: base64,
            replies: Type.Array(base64, { maxItems: 20 }),
            server: Type.Optional(name),
            port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
          },
          closed,
        ),
        { maxItems: 2000 },
      ),
    ),
    config: Type.Optional(
      Type.Object(
        { name: Type.String({ maxLength: 4096 }), text: Type.String({ maxLength: 1 << 20 }) },
        closed,
      ),
    ),
  },
  closed,
)
export const LastChanges = Type.Object(
  {
    object: Type.Optional(Type.String({ minLength: 1, maxLength: 300 })),
    last: Type.Optional(last),
  },
  closed,
)
/**
 * `follow=no`: only what was, up to now. `nodes`: a noderange. `since`: from then on, in ms since 1970; without it what happens from now on.
 * `things`: what stands before the dot of an event's type, with commas: `capture,job`.
 */
export const Watch = Type.Object(
  {
    node: Type.Optional(name),
    nodes: Type.Optional(Type.String({ minLength: 1, maxLength: 1_000_000 })),
    since: Type.Optional(Type.String({ pattern: '^[0-9]{1,13}$' })),
    follow: Type.Optional(Type.Literal('no')),
    job: Type.Optional(name),
    things: Type.Optional(Type.String({ maxLength: 200 })),
  },
  closed,
)
