# A job for Peapod. Try it:
#
#   peapod job validate example.hcl
#   peapod job plan example.hcl -var who=me
#   peapod job run example.hcl -var who=me

# Variables get values by -var NAME=VALUE, -var-file FILE, or the environment (PEAPOD_VAR_who).
variable "who" { type = string, default = "world" }

job "example" {
  type = "service" # runs until it is stopped; "batch" runs until it is done

  # How a new version takes the place of the old one.
  update {
    max_parallel      = 1    # this many pods at a time
    min_healthy_time  = "1s" # a pod counts when it was ready for so long
    progress_deadline = "5m" # without progress for so long the update has failed
  }

  # A group is a set of equal pods; its tasks run together on one node.
  group "front" {
    count = 2

    # Every pod has an address of its own, so two pods may listen on the same port.
    network { port "http" { to = 8080 } }

    # A name and a stable address for all pods of the group that pass the check.
    service {
      name = "example"
      port = "http"
      type = "NodePort" # also open on every node; ClusterIP, the default, is for other pods only
      check { type = "http", path = "/healthz", interval = "2s" }
    }

    task "server" {
      driver = "oci"
      config { image = "peapod/demo" }
      env {
        GREETING = "hello ${var.who}"
        POD      = "${NOMAD_ALLOC_NAME}" # known when the pod runs
      }
      resources {
        cpu    = 100 # thousandths of a core
        memory = 64  # MiB
      }
    }
  }
}
