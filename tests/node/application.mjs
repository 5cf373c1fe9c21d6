// An application of somebody else: `openid-client`, which logs people in with an OpenID provider.
//
// Reads its configuration as a line of JSON on standard input, and ends when that closes:
//   cert, key: PEM   issuer, client_id, client_secret   scope   parameters: more for /authorize
// Prints "ready URL". Each further line changes some of it, and is answered with "ok": a client is
// registered with the redirect URI. GET / sends the browser to log in; /callback shows as JSON what came of it,
// or {"error": ...}. The library checks state, nonce, `iss` and the id_token; with refresh tokens
// the application uses one, and /end revokes what it has.

import https from 'node:https'
import readline from 'node:readline'

import * as oidc from 'openid-client'

const lines = readline.createInterface({ input: process.stdin })
lines.once('line', (line) => serve(JSON.parse(line)))
lines.once('close', () => process.exit(0))

function serve (known) {
  const server = https.createServer({ cert: known.cert, key: known.key })
  const logins = new Map() // by the browser's state
  let tokens
  server.listen(0, '127.0.0.1', () => {
    const own = `https://localhost:${server.address().port}`
    const redirect = `${own}/callback`
    let configured

    lines.on('line', (line) => {
      known = { ...known, ...JSON.parse(line) }
      configured = undefined
      console.log('ok')
    })

    async function configuration () {
      const secret = known.client_secret
      configured ??= await oidc.discovery(
        new URL(known.issuer), known.client_id, undefined,
        secret ? oidc.ClientSecretBasic(secret) : oidc.None()
      )
      return configured
    }

    async function begin (_, response) {
      const verifier = oidc.randomPKCECodeVerifier()
      const state = oidc.randomState()
      const nonce = oidc.randomNonce()
      logins.set(state, { verifier, nonce })
      const target = oidc.buildAuthorizationUrl(await configuration(), {
        redirect_uri: redirect,
        scope: known.scope,
        state,
        nonce,
        code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...known.parameters
      })
      response.writeHead(302, { location: target.href }).end()
    }

    async function finish (request, response) {
      const here = new URL(request.url, own)
      const state = here.searchParams.get('state')
      const login = logins.get(state)
      if (!login) throw new Error('no login of this state began here')
      logins.delete(state)
      const config = await configuration()
      tokens = await oidc.authorizationCodeGrant(config, here, {
        expectedState: state,
        expectedNonce: login.nonce,
        pkceCodeVerifier: login.verifier,
        idTokenExpected: true
      })
      const claims = tokens.claims()
      const person = await oidc.fetchUserInfo(config, tokens.access_token, claims.sub)
      let refreshed = null
      if (tokens.refresh_token) {
        const again = await oidc.refreshTokenGrant(config, tokens.refresh_token)
        refreshed = { scope: again.scope, expires_in: again.expires_in, other: again.access_token !== tokens.access_token }
        tokens = { ...tokens, ...again }
      }
      show(response, { claims, person, refreshed, scope: tokens.scope })
    }

    async function end (_, response) {
      const config = await configuration()
      await oidc.tokenRevocation(config, tokens.access_token)
      let after
      try {
        await oidc.fetchUserInfo(config, tokens.access_token, oidc.skipSubjectCheck)
        after = 'still valid'
      } catch (error) {
        after = error.status ?? error.cause?.status ?? error.code
      }
      show(response, { after })
    }

    const routes = { '/': begin, '/callback': finish, '/end': end }
    server.on('request', (request, response) => {
      const route = routes[new URL(request.url, own).pathname]
      if (!route) return response.writeHead(404).end()
      route(request, response).catch((error) => {
        show(response, { error: error.error ?? error.code ?? String(error), message: error.message, detail: error.error_description })
      })
    })
    console.log(`ready ${own}`)
  })
}

function show (response, document) {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document))
}
