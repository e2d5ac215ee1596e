// A page that is opened as a file may start no worker: there the search runs in a hidden frame. Material's own script for the search
// knows this by the name `IFrameWorker`; its plugin for pages without a server would load such a class from another host.
if (location.protocol === "file:") {
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inner = this.frame.contentDocument
      // Written at once: Firefox would put another document in the place of an empty one.
      inner.open()
      inner.write("<body></body>")
      inner.close()
      const load = (source) =>
        new Promise((resolve) => {
          const script = inner.createElement("script")
          script.src = source
          script.onload = resolve
          inner.body.append(script)
        })
      const scope = this.frame.contentWindow
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
      scope.importScripts = (...sources) => sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve())
      this.loaded = load(url)
    }

    postMessage(data) {
      this.loaded.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }

    terminate() {
      this.frame.remove()
    }
  }
  window.IFrameWorker = IFrameWorker
  window.Worker = IFrameWorker
}
