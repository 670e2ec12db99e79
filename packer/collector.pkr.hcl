# Ready-made machines out of what `sudo make image` has written to dist/. From the top of the tree, one of
#
#   packer build -only='qemu.*' -var version=0.1.0 packer                   KVM, on Linux
#   packer build -only='hyperv-iso.*' -var version=0.1.0 packer             Hyper-V, on Windows, as an administrator
#   packer build -only='amazon-ebssurrogate.*' -var version=0.1.0 packer    an AMI in your AWS account
#
# Packer 1.7 and later first want their plugins: packer init packer/plugins
# qemu wants xorriso, and hyperv-iso oscdimg, for the small CD with the answers.

locals {
  dist     = "${path.root}/../dist"
  iso      = "${local.dist}/collector-${var.version}.iso"
  checksum = "file:${local.dist}/SHA256SUMS"
}

source "qemu" "collector" {
  iso_url          = local.iso
  iso_checksum     = local.checksum
  cd_files         = ["${path.root}/install.yaml"]
  cd_label         = "COLLECTOR"
  communicator     = "none"
  shutdown_timeout = var.shutdown_timeout

  accelerator    = var.accelerator
  machine_type   = "q35"
  headless       = true
  cpus           = 1
  memory         = 1024
  disk_size      = "${var.disk_size}G"
  disk_interface = "virtio"
  net_device     = "virtio-net"
  format         = "qcow2"
  # What the installer says, also when it failed: Packer then waits until the time is over, and deletes what it made.
  qemuargs = [["-serial", "file:${var.output}/qemu.log"]]

  output_directory = "${var.output}/qemu"
  vm_name          = "collector-${var.version}.qcow2"
}

source "hyperv-iso" "collector" {
  iso_url      = local.iso
  iso_checksum = local.checksum
  cd_files     = ["${path.root}/install.yaml"]
  cd_label     = "COLLECTOR"
  communicator = "none"
  # Nobody runs it, but without a command Packer switches the machine off at once instead of waiting.
  shutdown_command = "true"
  shutdown_timeout = var.shutdown_timeout

  generation           = 2
  enable_secure_boot   = true
  secure_boot_template = "MicrosoftUEFICertificateAuthority"
  guest_additions_mode = "none"
  headless             = true
  cpus                 = 2
  memory               = 1024
  disk_size            = var.disk_size * 1024
  disk_block_size      = 1
  switch_name          = var.switch

  output_directory = "${var.output}/hyperv"
  vm_name          = "collector-${var.version}"
}

# It needs a current Packer: 1.6.6 knows neither boot_mode nor imds_support nor metadata_options.
source "amazon-ebssurrogate" "collector" {
  region        = var.region
  instance_type = var.instance_type
  ssh_username  = "admin"

  # Debian's own account
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "debian-13-amd64-*"
      architecture        = "x86_64"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/sdf"
    volume_type           = "gp3"
    iops                  = 3000 # this and the next are gp3's own; 1.6.6 does not know them
    throughput            = 125
    volume_size           = var.volume_size
    encrypted             = false
    delete_on_termination = true
  }

  ami_name                = "collector-${var.version}"
  ami_description         = "VXLAN collector"
  ami_virtualization_type = "hvm"
  boot_mode               = "uefi-preferred"
  ena_support             = true
  imds_support            = "v2.0"
  ami_root_device {
    source_device_name    = "/dev/sdf"
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.volume_size
    delete_on_termination = true
  }
  tags = { Name = "collector-${var.version}" }
}

build {
  sources = ["source.qemu.collector", "source.hyperv-iso.collector", "source.amazon-ebssurrogate.collector"]

  # What follows is for AWS: the others are whole when the installer has switched them off.
  # Not to /tmp, which is in memory there.
  provisioner "file" {
    only        = ["amazon-ebssurrogate.collector"]
    source      = "${local.dist}/collector-${var.version}.raw"
    destination = "collector.raw"
  }

  provisioner "shell" {
    only            = ["amazon-ebssurrogate.collector"]
    script          = "${path.root}/write-disk.sh"
    execute_command = "sudo sh {{ .Path }} collector.raw"
  }
}
