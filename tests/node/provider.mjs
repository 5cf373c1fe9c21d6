// An OpenID provider, as an institution runs one: `oidc-provider`, with the smallest login page.
//
// Reads its configuration as a line of JSON on standard input, and ends when that closes:
//   cert, key: PEM          clients: as oidc-provider takes them
//   people: {login: claims}  acr, amr: what a login here proves
// Prints "ready ISSUER". Each further line changes some of it, and is answered with "ok": a client's
// redirect URI may depend on the issuer. Whoever writes a name of `people` into the form is that person.

import https from 'node:https'
import readline from 'node:readline'

import Provider from 'oidc-provider'

const lines = readline.createInterface({ input: process.stdin })
lines.once('line', (line) => serve(JSON.parse(line)))
lines.once('close', () => process.exit(0))

function serve (first) {
  const server = https.createServer({ cert: first.cert, key: first.key })
  server.listen(0, '127.0.0.1', () => {
    const issuer = `https://localhost:${server.address().port}`
    let { people, acr, amr } = first
    let provider = make(issuer, first)
    let rest = provider.callback()
    let known = first
    lines.on('line', (line) => {
      known = { ...known, ...JSON.parse(line) }
      ;({ people, acr, amr } = known)
      provider = make(issuer, known)
      rest = provider.callback()
      console.log('ok')
    })
    server.on('request', (request, response) => {
      const route = request.url.startsWith('/interaction/') ? interact : rest
      Promise.resolve(route(request, response)).catch((error) => {
        response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error))
      })
    })
    console.log(`ready ${issuer}`)

    async function interact (request, response) {
      const { prompt, params } = await provider.interactionDetails(request, response)
      if (request.method === 'GET') {
        response.writeHead(200, { 'content-type': 'text/html' }).end(page(prompt, params))
        return
      }
      const name = new URLSearchParams(await body(request)).get('name')
      const result = Object.hasOwn(people, name)
        ? { login: { accountId: name, acr, amr, remember: true } }
        : { error: 'access_denied', error_description: 'nobody of that name' }
      await provider.interactionFinished(request, response, result)
    }
  })
}

function make (issuer, { clients, people, acr }) {
  return new Provider(issuer, {
    clients,
    acrValues: acr ? [acr] : [],
    claims: {
      acr: null,
      amr: null,
      auth_time: null,
      iss: null,
      openid: ['sub'],
      profile: ['name', 'preferred_username', 'organization'],
      email: ['email', 'email_verified']
    },
    conformIdTokenClaims: false, // the id_token has them all, as most providers do it
    cookies: { keys: ['a key of the tests'] },
    features: { claimsParameter: { enabled: true }, devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    async loadExistingGrant ({ oidc }) { // who logs in has consented
      const grant = new oidc.provider.Grant({
        clientId: oidc.client.clientId, accountId: oidc.session.accountId
      })
      grant.addOIDCScope('openid profile email')
      await grant.save()
      return grant
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 }
  })
}

function page (prompt, params) {
  const hint = String(params.login_hint ?? '').replace(/[^\w@.-]/g, '')
  return `<!doctype html><title>Institution</title><h1>Institution</h1>
<p id="prompt">${prompt.reasons.join(' ')}</p>
<form method="post"><input name="name" value="${hint}"><button>Enter</button></form>`
}

async function body (request) {
  let text = ''
  for await (const part of request) text += part
  return text
}
