// The package in a browser: addresses are fetched.

import { loader } from "./network.js";
import init from "./qnn_npm.js";

export const load = loader(() => init(), fetch);
