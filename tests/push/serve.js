// The push service of web-push-testing, on 127.0.0.1 alone: by itself it listens everywhere.
"use strict";

const http = require("http");

const listen = http.Server.prototype.listen;
http.Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, port, "127.0.0.1", ...rest);
};

const { PushApiModel } = require("web-push-testing/src/PushApiModel");
const Server = require("web-push-testing/src/server");

new Server(new PushApiModel(), Number(process.argv[2])).startServer();
