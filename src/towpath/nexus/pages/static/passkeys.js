// The one thing that pages cannot do without a script: talk to an authenticator. A form with
// data-passkey is hidden until then; sent, it asks for a challenge, lets the authenticator answer,
// puts the answer into its field and goes on as any form.
'use strict'

for (const form of document.querySelectorAll('form[data-passkey]')) {
  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) continue
  form.hidden = false
  for (const fallback of document.querySelectorAll('[data-no-passkey]')) fallback.hidden = true
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    answer(form).then(() => form.submit(), (error) => tell(form, error))
  })
}

async function answer (form) {
  const options = form.dataset.options ? JSON.parse(form.dataset.options) : await ask(form)
  const credential = form.dataset.passkey === 'create'
    ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
    : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) })
  form.elements.credential.value = JSON.stringify(credential)
}

async function ask (form) {
  const response = await fetch(form.dataset.challenge, {
    method: 'POST',
    headers: { 'X-CSRF-Token': form.elements.csrf.value },
    redirect: 'error'
  })
  if (!response.ok) throw new Error('no challenge')
  return response.json()
}

function tell (form, error) {
  const place = form.querySelector('[role=alert]')
  place.hidden = false
  place.textContent = error.name === 'InvalidStateError'
    ? 'This authenticator has a passkey for this account already.'
    : error.message === 'no challenge'
      ? 'Your login is some time ago: log out, log in again, and come back.'
      : 'That did not work, or was cancelled. Try again.'
}
