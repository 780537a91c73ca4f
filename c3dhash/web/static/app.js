// What all pages need, and the parts that this one has. Names of files are text: they only ever become textContent.
import { startPreviews } from "./previews.js";
import { startSwaps } from "./swap.js";
import { startForms } from "./forms.js";
import { startUploads } from "./upload.js";
import { startJudging } from "./duplicates.js";
import { startLogin } from "./login.js";

document.documentElement.classList.add("js");
startPreviews();
startSwaps();
startForms();
if (document.getElementById("upload")) startUploads();
if (document.querySelector("[data-map]")) import("./map.js").then((module) => module.startMap());
if (document.body.dataset.page === "duplicates") startJudging();
if (document.getElementById("login")) startLogin();
