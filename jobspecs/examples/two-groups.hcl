# Two groups become two Deployments, shop-front and shop-store, that find each other by service names.

job "shop" {
  datacenters = ["*"]
  meta        = { owner = "team-shop" }

  update {
    max_parallel      = 1
    min_healthy_time  = "1s"
    progress_deadline = "2m"
  }

  group "front" {
    count = 2
    network { port "http" { to = 8080 } }
    service {
      name = "front"
      tags = ["tier=web", "public"]
      check { type = "http", path = "/readyz", interval = "1s", timeout = "1s" }
    }
    constraint { attribute = "${attr.kernel.name}", value = "linux" }
    ephemeral_disk { size = 64 }

    task "greet" {
      driver = "docker"
      lifecycle { hook = "prestart" }
      config {
        image      = "peapod/demo"
        entrypoint = ["sh", "-c"]
        args       = ["echo hello > ${NOMAD_ALLOC_DIR}/greeting"]
      }
    }
    task "server" {
      driver       = "docker"
      user         = "1000:1000"
      kill_timeout = "10s"
      config {
        image           = "peapod/demo"
        ports           = ["http"]
        readonly_rootfs = true
        cap_drop        = ["ALL"]
      }
      env {
        STORE = "http://store:8081"
        ME    = "${NOMAD_ALLOC_NAME} at ${NOMAD_ADDR_http}"
      }
      resources { cpu = 100, memory = 64, memory_max = 128 }
    }
  }

  group "store" {
    network { port "db" { to = 8081 } }
    service {
      name = "store"
      port = "db"
      check { type = "tcp", interval = "2s" }
      check_restart { limit = 3, grace = "10s" }
    }
    task "store" {
      driver = "docker"
      config { image = "peapod/demo" }
      env { PORT = NOMAD_PORT_db }
    }
  }
}
