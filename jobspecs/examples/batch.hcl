# A batch job: eight pods, each told its part of the work by its number.

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
        args       = ["echo part ${NOMAD_ALLOC_INDEX} of 8 on ${node.unique.name}"]
      }
      resources { cpu = 50, memory = 32 }
    }
  }
}
