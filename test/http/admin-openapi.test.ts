import { expect, test } from 'vitest'
import { adminServer } from './admin-server.ts'

test('the document has every route, with the schemas that check its requests', async () => {
  const { call } = await adminServer()
  const { status, body } = await call('GET', '/openapi.json')
  expect(status).toBe(200)
  expect(body).toMatchObject({ openapi: '3.1.0', info: { title: 'sysclone', version: expect.any(String) } })
  const operations = Object.entries<any>(body.paths).flatMap(([path, methods]) =>
    Object.entries<any>(methods).map(([method, operation]) => ({ path, method, ...operation })),
  )
  const named = operations.map(({ path, method }) => `${method} ${path}`)
  expect(named).toEqual(
    expect.arrayContaining([
      'get /nodes',
      'delete /osimages',
      'post /deployments',
      'get /audit',
      'get /events',
    ]),
  )
  expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length)
  for (const { path, method, summary, requestBody, responses } of operations) {
    expect({ path, summary }).not.toEqual({ path, summary: `${method.toUpperCase()} ${path}` }) // it has a row
    expect(responses.default.content['application/json'].schema.$ref).toBe('#/components/schemas/Fault')
    if (method !== 'get') expect(requestBody.content['application/json'].schema.type).toBe('object')
  }
  const deploy = body.paths['/deployments'].post.requestBody.content['application/json'].schema
  expect(deploy).toMatchObject({ required: ['noderange', 'state'], additionalProperties: false })
  expect(body.paths['/audit'].get.parameters).toMatchObject([
    { name: 'object', in: 'query', required: false, schema: { type: 'string' } },
    { name: 'last', in: 'query' },
  ])
  expect(JSON.stringify(body)).not.toContain('"~') // nothing of the schema library's own
})
