# Variables, locals, functions and dynamic blocks.
#
#   peapod job run jobspecs/examples/variables.hcl -var count=5 -var 'ports={http=8080,admin=9090}'

variable "count" {
  type        = number
  default     = 2
  description = "how many copies"
  validation {
    condition     = var.count > 0
    error_message = "at least one copy must run"
  }
}

variable "ports" {
  type    = map(number)
  default = { http = 8080 }
}

locals {
  image = format("peapod/%s", local.base)
  base  = lower("DEMO")
}

job "many" {
  group "all" {
    count = var.count
    network {
      dynamic "port" {
        for_each = var.ports
        labels   = [port.key]
        content { to = port.value }
      }
    }
    dynamic "service" {
      for_each = var.ports
      content {
        name = "many"
        port = service.key
      }
    }
    task "server" {
      driver = "oci"
      config { image = local.image }
      env = { for name, port in var.ports : upper(name) => tostring(port) }
    }
  }
}

manifest "v1" "ConfigMap" "many-ports" {
  data = { for name, port in var.ports : name => tostring(port) }
}
