# A batch job: eight pods at once, each of which knows its own name.

job "numbers" {
  type = "batch"
  group "work" {
    count = 8
    restart { attempts = 2 }
    task "count" {
      driver = "oci"
      config {
        image      = "peapod/demo"
        entrypoint = ["sh", "-c"]               # in place of the image's own, a web server
        args       = ["echo ${NOMAD_ALLOC_NAME} works on ${node.unique.name}"]
      }
      resources { cpu = 50, memory = 32 }
    }
  }
}
