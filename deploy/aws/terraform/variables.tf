variable "name" {
  description = "Names what is made, and begins the names of the alarms."
  type        = string
  default     = "collector"
}

# The collector

variable "image_id" {
  description = "The collector's AMI in this region."
  type        = string
}

variable "instance_type" {
  description = "A Nitro instance type of the x86-64 architecture. docs/sizing.md says how many calls each can take."
  type        = string
  default     = "c7i.large"
}

variable "volume_size" {
  description = "The disk, in GiB: settings and logs. Encrypted if your account encrypts new volumes."
  type        = number
  default     = 8
  validation {
    condition     = var.volume_size >= 2
    error_message = "The image needs 2 GiB."
  }
}

variable "key_name" {
  description = "There is no password. This SSH key lets the administrator in."
  type        = string
}

# How many

variable "deployment" {
  description = "\"one\" instance, or a \"group\" behind a network load balancer, which replaces an instance that fails."
  type        = string
  default     = "one"
  validation {
    condition     = contains(["one", "group"], var.deployment)
    error_message = "One of \"one\" and \"group\"."
  }
}

variable "group_min" {
  description = "Instances in a group, at least."
  type        = number
  default     = 2
}

variable "group_max" {
  description = "Instances in a group, at most."
  type        = number
  default     = 4
}

# Where it runs

variable "vpc_id" {
  description = "The PBXs are in this VPC, or in one that reaches it by peering or a transit gateway."
  type        = string
}

variable "subnet_ids" {
  description = "One instance takes the first. A group uses all; give it two or more, in different zones."
  type        = list(string)
}

variable "public_address" {
  description = "\"yes\" if the t-meter is across the internet and the subnets have no NAT gateway."
  type        = string
  default     = "no"
  validation {
    condition     = contains(["yes", "no"], var.public_address)
    error_message = "One of \"yes\" and \"no\"."
  }
}

# Who may reach it

variable "mirror_range" {
  description = "The network of the PBXs: mirrored frames are taken from these addresses only, such as 10.0.0.0/16."
  type        = string
  validation {
    condition     = can(cidrhost(var.mirror_range, 0))
    error_message = "A network, such as 10.0.0.0/16."
  }
}

variable "ssh_range" {
  description = "SSH is let in from these addresses only, such as 192.0.2.0/24."
  type        = string
  validation {
    condition     = can(cidrhost(var.ssh_range, 0))
    error_message = "A network, such as 192.0.2.0/24."
  }
}

variable "metrics_range" {
  description = "Metrics are let in from these addresses only, such as 192.0.2.0/24."
  type        = string
  validation {
    condition     = can(cidrhost(var.metrics_range, 0))
    error_message = "A network, such as 192.0.2.0/24."
  }
}

# The t-meter

variable "t_meter_address" {
  description = "Every mirrored frame is sent to this address or host name, without encryption."
  type        = string
}

variable "t_meter_range" {
  description = "The network that its address is in, such as 203.0.113.10/32. Nothing is let out elsewhere."
  type        = string
  validation {
    condition     = can(cidrhost(var.t_meter_range, 0))
    error_message = "A network, such as 203.0.113.10/32."
  }
}

variable "t_meter_port" {
  description = "Its UDP port. VXLAN's own is 4789."
  type        = number
  default     = 4789
}

# What is mirrored

variable "pbx_interfaces" {
  description = "The IDs of the network interfaces that are mirrored."
  type        = set(string)
}

variable "pbx_instances" {
  description = "The IDs of the instances that these interfaces belong to. Alarms watch them."
  type        = set(string)
}

variable "mirror_traffic" {
  description = "\"all\" traffic of the interfaces, or \"telephony\": SIP and RTP over IPv4 only."
  type        = string
  default     = "all"
  validation {
    condition     = contains(["all", "telephony"], var.mirror_traffic)
    error_message = "One of \"all\" and \"telephony\"."
  }
}

variable "rtp_first_port" {
  description = "Only for telephony."
  type        = number
  default     = 9000
}

variable "rtp_last_port" {
  description = "Only for telephony."
  type        = number
  default     = 20000
}

variable "vni" {
  description = "The VXLAN network identifier. The t-meter sees this number."
  type        = number
  default     = 12
}

variable "session_number" {
  description = "Another one if the interfaces are mirrored to somebody else as well. The lowest is served first."
  type        = number
  default     = 1
}

# Who is told when something is wrong

variable "alarm_topic" {
  description = "The ARN of an SNS topic. Without it alarms are seen in CloudWatch only."
  type        = string
  default     = ""
}
