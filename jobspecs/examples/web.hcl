# A web server with three copies behind one port of every node, and a ConfigMap beside it.
#
#   peapod job run jobspecs/examples/web.hcl -var who=peapod

variable "who" { type = string, default = "world" }

job "web" {
  type = "service"
  group "front" {
    count = 3
    network { port "http" { to = 8080 } }
    service {
      name = "web"
      port = "http"
      type = "NodePort"                       # ClusterIP is the default
      check { type = "http", path = "/healthz", interval = "2s" }
    }
    task "server" {
      driver = "oci"                          # docker, podman and containerd mean the same here
      config { image = "peapod/demo" }
      env { GREETING = "hello ${var.who}" }
      resources { cpu = 100, memory = 64 }
    }
  }
}

manifest "v1" "ConfigMap" "web-settings" {    # any object: apiVersion, kind, name
  labels = { app = "web" }
  data   = { greeting = "hello ${var.who}" }
}
