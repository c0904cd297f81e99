'use strict'
// KafkaJS: written in JavaScript throughout, with a protocol and a coordinator of its own. Long
// without releases, and still what most Node.js programs run.

const test = require('node:test')
const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const { spawn } = require('node:child_process')
const { randomBytes, randomUUID } = require('node:crypto')
const {
  CompressionCodecs,
  CompressionTypes,
  ConfigResourceTypes,
  Kafka,
  logLevel,
} = require('kafkajs')
const lz4 = require('lz4js')
const snappy = require('kafkajs-snappy')
const zstd = require('@bokuweb/zstd-wasm')

const DEADLINE = 30_000

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

const kafka = new Kafka({
  brokers: [process.env.INTEROP_BOOTSTRAP],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 },
})
const admin = kafka.admin()

test.before(() => Promise.all([zstd.init(), admin.connect()]))
test.after(() => admin.disconnect())

// --- set-up and waiting ---

const unique = kind => `${kind}-${randomUUID()}`

async function newTopic({ partitions = 1, configs = {} } = {}) {
  const topic = unique('topic')
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  await admin.createTopics({
    topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
  })
  return topic
}

/** A connected producer that is closed with its test. */
async function newProducer(t, options = {}) {
  const producer = kafka.producer(options)
  await producer.connect()
  t.after(() => producer.disconnect())
  return producer
}

/** A running member of a group; `records` fills up by itself. Closed with its test. */
async function newMember(t, groupId, topic, options = {}) {
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 6000,
    heartbeatInterval: 300,
    maxWaitTimeInMs: 100,
    ...options,
  })
  const member = { consumer, records: [], owned: [], heldUp: Promise.resolve() }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.owned = payload.memberAssignment[topic] ?? []
  })
  await consumer.connect()
  t.after(() => consumer.disconnect())
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: options.autoCommit ?? false,
    eachMessage: async ({ partition, message }) => {
      member.records.push({ partition, ...message })
      await member.heldUp
    },
  })
  return member
}

/** A member in a process of its own; `values` fills up by itself. Killed with its test. */
function newDoomed(t, groupId, topic, commits) {
  const script = path.join(__dirname, 'doomed.js')
  const child = spawn(process.execPath, [script, groupId, topic, String(commits)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const doomed = { child, printed: '', values: () => doomed.printed.split('\n').slice(0, -1) }
  child.stdout.on('data', chunk => { doomed.printed += chunk })
  return doomed
}

async function eventually(condition) {
  const end = Date.now() + DEADLINE
  while (!(await condition())) {
    assert.ok(Date.now() < end, `not within ${DEADLINE} ms: ${condition}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const numbered = (from, to) =>
  Array.from({ length: to - from }, (_, n) => ({ value: `v${from + n}`, partition: 0 }))
const values = records => records.map(record => record.value?.toString())
const valuesOf = messages => messages.map(message => message.value)

async function killBroker() {
  const before = fs.readFileSync(process.env.INTEROP_PID_FILE, 'utf8')
  process.kill(Number(before), 'SIGKILL')
  await eventually(() => fs.readFileSync(process.env.INTEROP_PID_FILE, 'utf8') !== before)
}

// Side by side, because most of a test is waiting for its group.
test.describe('while the broker lives', { concurrency: 8 }, () => {
  // --- records ---

  // Goal: a batch in any of the five codecs is read as it was written.
  for (const codec of ['None', 'GZIP', 'Snappy', 'LZ4', 'ZSTD']) {
    test(`codec ${codec} gives back the same bytes`, async t => {
      const topic = await newTopic()
      const sent = [0, 1, 100, 10_000, 100_000].map(size =>
        Buffer.concat([randomBytes(size / 2), Buffer.alloc(size / 2)])
      )
      const producer = await newProducer(t)
      await producer.send({
        topic,
        compression: CompressionTypes[codec],
        messages: sent.map(value => ({ value })),
      })
      const member = await newMember(t, unique('group'), topic)
      await eventually(() => member.records.length >= sent.length)
      assert.deepEqual(member.records.map(record => record.value), sent)
    })
  }

  // Goal: absent and empty stay apart, repeated headers and the producer's time are kept.
  test('nulls, headers and timestamps', async t => {
    const topic = await newTopic()
    const producer = await newProducer(t)
    const parts = [null, '', 'x']
    const pairs = parts.flatMap(key => parts.map(value => ({ key, value })))
    await producer.send({
      topic,
      messages: pairs.map(pair => ({
        ...pair,
        partition: 0,
        timestamp: '1600000000123',
        headers: { a: ['1', '2'], c: '' },
      })),
    })
    const member = await newMember(t, unique('group'), topic)
    await eventually(() => member.records.length >= pairs.length)
    const text = bytes => (bytes === null ? null : bytes.toString())
    const seen = member.records.map(({ key, value }) => ({ key: text(key), value: text(value) }))
    assert.deepEqual(seen, pairs)
    for (const { timestamp, headers } of member.records) {
      assert.equal(timestamp, '1600000000123')
      assert.deepEqual([headers.a.map(String), String(headers.c)], [['1', '2'], ''])
    }
  })

  // Goal: a topic of log append time overrides what the producer said.
  test('log append time is the broker\'s', async t => {
    const topic = await newTopic({ configs: { 'message.timestamp.type': 'LogAppendTime' } })
    const producer = await newProducer(t)
    const before = Date.now()
    await producer.send({ topic, messages: [{ value: 'v', timestamp: '1600000000123' }] })
    const member = await newMember(t, unique('group'), topic)
    await eventually(() => member.records.length >= 1)
    const timestamp = Number(member.records[0].timestamp)
    assert.ok(before <= timestamp && timestamp <= Date.now(), `a time of ${timestamp}`)
  })

  // Goal: where max.message.bytes allows it, a large record passes, and the next one after it.
  test('a record of 10 MB', async t => {
    const topic = await newTopic({ configs: { 'max.message.bytes': '12000000' } })
    const producer = await newProducer(t)
    const large = randomBytes(10_000_000)
    await producer.send({ topic, messages: [{ value: large }] })
    await producer.send({ topic, messages: [{ value: 'next' }] })
    const member = await newMember(t, unique('group'), topic)
    await eventually(() => member.records.length >= 2)
    assert.ok(member.records[0].value.equals(large))
    assert.equal(member.records[1].value.toString(), 'next')
  })

  // Goal: an idempotent producer, and each way of acknowledging, stores every record once in order.
  for (const options of [{ idempotent: true, acks: -1 }, { acks: 1 }, { acks: 0 }]) {
    test(`sending with ${JSON.stringify(options)}`, async t => {
      const topic = await newTopic()
      const producer = await newProducer(t, { idempotent: options.idempotent })
      for (let from = 0; from < 500; from += 50) {
        await producer.send({ topic, acks: options.acks, messages: numbered(from, from + 50) })
      }
      const member = await newMember(t, unique('group'), topic)
      await eventually(() => member.records.length >= 500)
      assert.deepEqual(values(member.records), valuesOf(numbered(0, 500)))
      assert.deepEqual(member.records.map(({ offset }) => Number(offset)), [...Array(500).keys()])
    })
  }

  // Goal: one group member reads a hundred partitions, each in order.
  test('a hundred partitions', async t => {
    const topic = await newTopic({ partitions: 100 })
    const producer = await newProducer(t)
    const messages = Array.from({ length: 1000 }, (_, n) => ({
      value: String(n),
      partition: n % 100,
    }))
    await producer.send({ topic, messages })
    const member = await newMember(t, unique('group'), topic)
    await eventually(() => member.records.length >= 1000)
    for (let partition = 0; partition < 100; partition++) {
      const seen = member.records.filter(record => record.partition === partition)
      const wanted = messages.filter(message => message.partition === partition)
      assert.deepEqual(values(seen), valuesOf(wanted))
    }
  })

  // --- positions and groups ---

  // Goal: reading goes on exactly where it was told to, and a time finds its offset.
  test('seek by offset and by time', async t => {
    const topic = await newTopic()
    const producer = await newProducer(t)
    const at = n => 1_600_000_000_000 + n * 1000
    const messages = numbered(0, 10).map((message, n) => ({ ...message, timestamp: String(at(n)) }))
    for (const message of messages) await producer.send({ topic, messages: [message] })
    const byTime = await admin.fetchTopicOffsetsByTimestamp(topic, at(3) + 500)
    assert.deepEqual(byTime, [{ partition: 0, offset: '4' }])
    const member = await newMember(t, unique('group'), topic)
    await eventually(() => member.records.length >= 10)
    member.records.length = 0
    member.consumer.seek({ topic, partition: 0, offset: byTime[0].offset })
    await eventually(() => member.records.length >= 6)
    assert.deepEqual(values(member.records), valuesOf(numbered(4, 10)))
  })

  // Goal: the next member goes on after what was committed, whoever committed it.
  for (const autoCommit of [false, true]) {
    test(`commits are resumed, automatic: ${autoCommit}`, async t => {
      const topic = await newTopic()
      const groupId = unique('group')
      const producer = await newProducer(t)
      await producer.send({ topic, messages: numbered(0, 20) })
      const first = await newMember(t, groupId, topic, { autoCommit })
      await eventually(() => first.records.length >= 20)
      const committed = autoCommit ? 20 : 12
      if (!autoCommit) {
        await first.consumer.commitOffsets([{ topic, partition: 0, offset: '12' }])
      }
      await first.consumer.disconnect()
      const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
      assert.equal(partitions[0].offset, String(committed))
      await producer.send({ topic, messages: numbered(20, 25) })
      const second = await newMember(t, groupId, topic)
      await eventually(() => second.records.length >= 25 - committed)
      assert.deepEqual(values(second.records), valuesOf(numbered(committed, 25)))
    })
  }

  // Goal: partitions are shared among whoever is there, each with one member.
  test('members join and leave', async t => {
    const topic = await newTopic({ partitions: 4 })
    const groupId = unique('group')
    const one = await newMember(t, groupId, topic)
    await eventually(() => one.owned.length === 4)
    const two = await newMember(t, groupId, topic)
    await eventually(() => one.owned.length === 2 && two.owned.length === 2)
    assert.deepEqual([...one.owned, ...two.owned].sort(), [0, 1, 2, 3])
    await one.consumer.disconnect()
    await eventually(() => two.owned.length === 4)
  })

  // Goal: what a killed member had is read on from its last commit, once its session is over.
  test('a killed member is replaced', async t => {
    const topic = await newTopic({ partitions: 2 })
    const groupId = unique('group')
    const doomed = newDoomed(t, groupId, topic, 4)
    const survivor = await newMember(t, groupId, topic)
    await eventually(() => survivor.owned.length === 1)
    const [own] = survivor.owned
    const producer = await newProducer(t)
    for (const partition of [0, 1]) {
      await producer.send({ topic, messages: numbered(0, 10).map(m => ({ ...m, partition })) })
    }
    await eventually(() => survivor.records.length >= 10 && doomed.values().length >= 10)
    assert.deepEqual(values(survivor.records), valuesOf(numbered(0, 10)))
    assert.deepEqual(doomed.values(), valuesOf(numbered(0, 10)))
    await survivor.consumer.commitOffsets([{ topic, partition: own, offset: '10' }])
    doomed.child.kill('SIGKILL')
    await eventually(() => survivor.records.length >= 16)
    const left = survivor.records.slice(10)
    assert.deepEqual(values(left), valuesOf(numbered(4, 10)))
    assert.deepEqual([...new Set(left.map(({ partition }) => partition))], [1 - own])
    assert.equal(survivor.owned.length, 2)
  })

  // Goal: who does not come back from a record loses its partitions to others.
  test('a silent member is replaced', async t => {
    const topic = await newTopic({ partitions: 2 })
    const groupId = unique('group')
    let goOn
    const heldUp = new Promise(resolve => { goOn = resolve })
    // Before the member is closed, which waits for what it works on.
    t.after(goOn)
    const silent = await newMember(t, groupId, topic)
    const lively = await newMember(t, groupId, topic)
    await eventually(() => silent.owned.length === 1 && lively.owned.length === 1)
    silent.heldUp = heldUp
    const producer = await newProducer(t)
    await producer.send({ topic, messages: [{ value: 'v', partition: silent.owned[0] }] })
    await eventually(() => silent.records.length === 1)
    await eventually(() => lively.owned.length === 2)
    await eventually(() => lively.records.length === 1)
    assert.deepEqual(values(lively.records), ['v'])
  })

  // Goal: a paused partition is silent until it is resumed, and then loses nothing.
  test('a paused partition', async t => {
    const topic = await newTopic({ partitions: 2 })
    const member = await newMember(t, unique('group'), topic)
    await eventually(() => member.owned.length === 2)
    member.consumer.pause([{ topic, partitions: [0] }])
    const producer = await newProducer(t)
    await producer.send({ topic, messages: numbered(0, 5) })
    await producer.send({ topic, messages: numbered(5, 10).map(m => ({ ...m, partition: 1 })) })
    await eventually(() => member.records.length >= 5)
    assert.deepEqual(values(member.records), valuesOf(numbered(5, 10)))
    member.consumer.resume([{ topic }])
    await eventually(() => member.records.length >= 10)
    assert.deepEqual(values(member.records.slice(5)), valuesOf(numbered(0, 5)))
  })

  // --- admin and errors ---

  // Goal: a topic's life: created, described, changed, its records deleted, deleted.
  test('topics, configs and records', async t => {
    // Of its own: KafkaJS looks for leaders in what its client last asked for, whoever asked.
    const admin = kafka.admin()
    await admin.connect()
    t.after(() => admin.disconnect())
    const topic = await newTopic({ partitions: 2, configs: { 'retention.ms': '1000' } })
    assert.ok((await admin.listTopics()).includes(topic))
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false)
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
    const retention = async () => {
      const asked = { resources: [resource], includeSynonyms: false }
      const described = await admin.describeConfigs(asked)
      return described.resources[0].configEntries.find(entry => entry.configName === 'retention.ms')
    }
    assert.equal((await retention()).configValue, '1000')
    const configEntries = [{ name: 'retention.ms', value: '2000' }]
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries }] })
    assert.equal((await retention()).configValue, '2000')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    await eventually(async () => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      return topics[0].partitions.length === 3
    })
    const producer = await newProducer(t)
    await producer.send({ topic, messages: numbered(0, 10) })
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    const offsets = await admin.fetchTopicOffsets(topic)
    const { low, high } = offsets.find(({ partition }) => partition === 0)
    assert.deepEqual([low, high], ['4', '10'])
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic))
  })

  // Goal: a group is listed, described, moved while idle, and deleted once it is empty.
  test('groups', async t => {
    const topic = await newTopic()
    const groupId = unique('group')
    const member = await newMember(t, groupId, topic)
    await eventually(() => member.owned.length === 1)
    assert.ok((await admin.listGroups()).groups.some(group => group.groupId === groupId))
    const { groups } = await admin.describeGroups([groupId])
    assert.deepEqual([groups[0].state, groups[0].members.length], ['Stable', 1])
    await assert.rejects(admin.deleteGroups([groupId]), error =>
      error.groups.some(group => group.error.type === 'NON_EMPTY_GROUP')
    )
    await member.consumer.disconnect()
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '7' }] })
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
    assert.equal(partitions[0].offset, '7')
    await admin.deleteGroups([groupId])
    assert.ok(!(await admin.listGroups()).groups.some(group => group.groupId === groupId))
  })

  // Goal: what is wrong with a request is what the client says.
  test('errors by their names', async t => {
    const once = new Kafka({
      brokers: [process.env.INTEROP_BOOTSTRAP],
      logLevel: logLevel.NOTHING,
      retry: { retries: 0 },
    })
    const producer = once.producer()
    await producer.connect()
    t.after(() => producer.disconnect())
    const topic = await newTopic({ configs: { 'max.message.bytes': '10000' } })
    const large = producer.send({ topic, messages: [{ value: randomBytes(50_000) }] })
    await assert.rejects(large, { type: 'MESSAGE_TOO_LARGE' })
    const unknown = producer.send({ topic: unique('never-made'), messages: [{ value: 'v' }] })
    await assert.rejects(unknown, /This server does not host this topic-partition/)
    const refused = (topic, configEntries, type) =>
      assert.rejects(admin.createTopics({ topics: [{ topic, configEntries }] }), error =>
        error.errors.some(each => each.type === type)
      )
    await refused('a b', [], 'INVALID_TOPIC_EXCEPTION')
    await refused(unique('topic'), [{ name: 'retention.ms', value: 'soon' }], 'INVALID_CONFIG')
  })
})

// --- the broker dies ---

// Goal: a producer and a group live through a killed broker: nothing acknowledged is lost.
test('kill -9 loses nothing acknowledged', async t => {
  const topic = await newTopic()
  const groupId = unique('group')
  const member = await newMember(t, groupId, topic)
  const producer = await newProducer(t, { idempotent: true })
  const send = async (from, to) => {
    for (let n = from; n < to; n += 10) {
      await producer.send({ topic, acks: -1, messages: numbered(n, n + 10) })
    }
  }
  await send(0, 500)
  const rest = send(500, 1000)
  await eventually(() => member.records.length >= 500)
  await killBroker()
  await rest
  await eventually(() => new Set(values(member.records)).size >= 1000)
  const offsets = new Map(member.records.map(record => [record.value.toString(), record.offset]))
  assert.deepEqual([...offsets.keys()].sort(), valuesOf(numbered(0, 1000)).sort())
  assert.equal(new Set(offsets.values()).size, 1000)
  const commit = () => member.consumer.commitOffsets([{ topic, partition: 0, offset: '1000' }])
  await eventually(() => commit().then(() => true, () => false))
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.equal(partitions[0].offset, '1000')
})
