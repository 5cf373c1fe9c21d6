/** What a person enters for an endpoint, and what the API takes. */

import { isComputer } from "@/api/endpoints";
import { type AddressProblem, addressOf, shortAddress } from "@/features/endpoints/address";
import type { Endpoint, EndpointBody } from "@/features/endpoints/queries";
import { NO_TRUST, type Trust, trustBody } from "@/features/endpoints/trust";

export interface Entered {
  /** A computer that is connected has neither address nor authorities to tell. */
  computer: boolean;
  name: string;
  address: string;
  description: string;
  public: boolean;
  trust: Trust;
  subject: string;
  dataHosts: string;
}

export type Wrong = Partial<Record<"name" | "address" | "subject", "name" | "subject" | AddressProblem>>;

export const NOTHING: Entered = {
  computer: false,
  name: "",
  address: "",
  description: "",
  public: false,
  trust: NO_TRUST,
  subject: "",
  dataHosts: "",
};

export function enteredOf(endpoint: Endpoint): Entered {
  const server = endpoint.DATA[0];
  return {
    computer: isComputer(endpoint),
    name: endpoint.display_name,
    address: server ? shortAddress(server.hostname, server.port) : "",
    description: endpoint.description ?? "",
    public: endpoint.public,
    trust: NO_TRUST,
    subject: server?.subject ?? "",
    dataHosts: endpoint.data_hosts.join("\n"),
  };
}

/** What is wrong with what was entered; `named`: it needs a name, a test does not. */
export function wrongIn(entered: Entered, named: boolean): Wrong {
  const wrong: Wrong = {};
  const address = addressOf(entered.address);
  if (named && !entered.name.trim()) wrong.name = "name";
  if (entered.computer) return wrong;
  if (address.problem) wrong.address = address.problem;
  if (entered.subject.trim() && !entered.subject.trim().startsWith("/")) wrong.subject = "subject";
  return wrong;
}

export function bodyOf(entered: Entered): EndpointBody {
  const about = {
    display_name: entered.name.trim() || entered.address.trim(),
    description: entered.description.trim() || null,
    public: entered.public,
  };
  if (entered.computer) return about;
  const address = addressOf(entered.address);
  return {
    ...about,
    data_hosts: entered.dataHosts.split(/[\s,]+/).filter(Boolean),
    DATA: [{ uri: address.problem ? entered.address : address.uri, subject: entered.subject.trim() || null }],
    ...trustBody(entered.trust),
  };
}
