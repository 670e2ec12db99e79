variable "version" {
  type        = string
  description = "Which of the files in dist/: collector-VERSION.iso and .raw."
}

variable "output" {
  type        = string
  default     = "dist/packer"
  description = "Where the machines' disks are written: a folder in it for each source, which must not be there yet."
}

variable "disk_size" {
  type        = number
  default     = 8
  description = "The disk of a machine that is installed, in GiB. It may be made larger later."
}

variable "shutdown_timeout" {
  type        = string
  default     = "30m"
  description = "How long an installation may take."
}

variable "accelerator" {
  type        = string
  default     = "kvm"
  description = "qemu: kvm, or tcg on a machine that has no virtualisation, which takes some ten times as long."
}

variable "switch" {
  type        = string
  default     = "Default Switch"
  description = "hyperv-iso: a virtual switch of this host. The installation does not use the network."
}

variable "region" {
  type        = string
  default     = "eu-central-1"
  description = "amazon-ebssurrogate: where the AMI is made. Credentials are taken from where the AWS command line has them."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "amazon-ebssurrogate: the instance that writes the disk, for some minutes."
}

variable "volume_size" {
  type        = number
  default     = 2
  description = "amazon-ebssurrogate: the AMI's disk, in GiB. An instance may have a larger one, and fills it."
}
