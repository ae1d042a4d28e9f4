// What this browser keeps: the member's secret, the phone's key (as an object that cannot be read out), the
// certificate, and the last thing the cloud said, so that the code works with the line down.

const DATABASE = "doorstep-member";
const STORE = "kept";
const RECORD = "me";

/** The kept record, or null. */
export async function load() {
  return (await inStore("readonly", (store) => store.get(RECORD))) ?? null;
}

/** Keeps the record in place of the one before. */
export async function save(record) {
  await inStore("readwrite", (store) => store.put(record, RECORD));
}

/** Forgets everything. */
export async function forget() {
  await inStore("readwrite", (store) => store.delete(RECORD));
}

async function inStore(mode, act) {
  const database = await open();
  try {
    const transaction = database.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onerror = () => reject(transaction.error);
      transaction.onabort = () => reject(transaction.error);
    });
    return request.result;
  } finally {
    database.close();
  }
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
