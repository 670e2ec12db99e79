# Builds, tests and shows the collector on Debian 12 or newer. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
CLANG ?= clang

# Debian packages: each list is installed only by the targets that need it, and only what is missing.
SETUP_PACKAGES += python3-venv    # the virtual environment
SETUP_PACKAGES += libbpf1         # loads the BPF program
SETUP_PACKAGES += clang           # compiles the BPF program,
SETUP_PACKAGES += libbpf-dev      # with bpf_helpers.h
SETUP_PACKAGES += linux-libc-dev  # and the kernel's own headers

DEMO_PACKAGES += sip-tester       # sipp, the telephones, and its recorded speech
DEMO_PACKAGES += iproute2         # ip and tc
DEMO_PACKAGES += util-linux       # nsenter

TEST_PACKAGES += tshark           # decodes VXLAN, SIP and RTP without our code
TEST_PACKAGES += tcpdump          # receives without our code
TEST_PACKAGES += bpftool          # looks at programs, maps and links without our code
TEST_PACKAGES += ethtool          # looks at offloads without our code
TEST_PACKAGES += openssl          # makes certificates
TEST_PACKAGES += nftables         # is the appliance's packet filter
TEST_PACKAGES += systemd-container  # boots a Debian to install the package in
TEST_PACKAGES += qemu-system-x86  # starts the images,
TEST_PACKAGES += ovmf             # by UEFI too,
TEST_PACKAGES += qemu-utils       # on disks of every form,
TEST_PACKAGES += fdisk            # whose partitions are looked up
TEST_PACKAGES += squashfs-tools   # looks into them,
TEST_PACKAGES += cpio             # into their initrd
TEST_PACKAGES += xorriso          # and into the ISO
TEST_PACKAGES += openssh-client   # makes the administrator's key
ifeq ($(shell . /etc/os-release && echo $$VERSION_ID),12)
TEST_PACKAGES += packer           # makes machines of the ISO; Debian 13 has none
TEST_PACKAGES += xorriso          # and makes it the CD with the answers
endif

DEB_PACKAGES += mmdebstrap        # makes the Debian that each package is built in
DEB_PACKAGES += zstd              # packs it, to be kept
DEB_PACKAGES += git               # whose last commit is the package's date
DEB_PACKAGES += util-linux        # unshare

IMAGE_PACKAGES += mmdebstrap              # makes the roots
IMAGE_PACKAGES += debian-archive-keyring  # whose packages are signed
IMAGE_PACKAGES += procps                  # ends a build that is interrupted
IMAGE_PACKAGES += zstd

BENCH_PACKAGES += iproute2        # the vendor's recipe is made of ip and tc
BENCH_PACKAGES += util-linux

BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Werror
# <asm/types.h> is in the folder of the machine's architecture, which clang does not search for -target bpf.
BPF_FLAGS += -I/usr/include/$(shell uname -m)-linux-gnu
# The same object from any checkout.
BPF_FLAGS += -ffile-prefix-map=$(CURDIR)=.

BPF_HEADERS := $(wildcard collector/datapath/bpf/*.h)
BPF_OBJECT := collector/datapath/bpf/collector.bpf.o
# What the images are made of: when one of these is newer, their tests build them anew.
IMAGE_SOURCES := $(shell find collector image iso deploy/debian -type f ! -name '*.bpf.o' ! -path '*/__pycache__/*') pyproject.toml
IMAGES := dist/SHA256SUMS

BENCH_OBJECTS := $(patsubst %.c,%.o,$(wildcard tests/bench/*.bpf.c))

# Not every root's PATH has the administrator's tools (after `su`, for one).
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
export DEBIAN_FRONTEND := noninteractive
export PIP_DISABLE_PIP_VERSION_CHECK := 1

APT_INSTALL := apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300
PIP_INSTALL := $(BIN)/python -m pip install
UV_COMPILE = $(BIN)/uv --no-config --system-certs pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# $(call need_root,TARGET): stops, in words, without root.
need_root = [ "$$(id -u)" -eq 0 ] || { echo "make $(1) needs root: sudo make $(1)" >&2; exit 1; }

# $(call need_packages,PACKAGES,TARGET)
define need_packages
@missing=; for package in $(sort $(1)); do \
	dpkg-query --show --showformat='$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed \
		|| missing="$$missing $$package"; \
done; \
[ -n "$$missing" ] || exit 0; \
[ "$$(id -u)" -eq 0 ] || { echo "These Debian packages are missing:$$missing" >&2; \
	echo "Installing them needs root: sudo make $(2)" >&2; exit 1; }; \
echo "Installing Debian packages:$$missing"; \
apt-get update || echo "Some package lists could not be fetched; going on with what there is." >&2; \
$(APT_INSTALL) $$missing
endef

# After sudo, what was made in a user's checkout is the user's.
give_back = [ -z "$$SUDO_UID" ] || find collector tests $$(ls -d $(VENV) .cache dist 2>/dev/null) \
	-user root -exec chown -h "$$SUDO_UID:$$SUDO_GID" {} +

.PHONY: help setup demo test test-quick test-all bench bench-boot lock wheel deb image image-lock ami repro clean
.PHONY: root-demo root-test root-bench root-bench-boot root-deb root-image root-image-lock root-repro
.PHONY: packages-setup packages-demo packages-test packages-bench packages-deb packages-image
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

help: ## list the targets
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12 | sed 's/^/  /'

setup: $(VENV)/.setup $(BPF_OBJECT) ## install what is missing; leaves a working .venv/bin/collector
	@$(give_back)

demo: root-demo packages-demo setup ## show the whole path of a telephone call on this machine (root)
	@$(BIN)/collector demo

test: root-test packages-test setup $(VENV)/.test $(BIN)/prometheus $(BENCH_OBJECTS) ## run the tests, or those of ARGS="tests/netns -x" (root)
	@trap '$(give_back)' EXIT; PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m $(if $(ARGS),pytest $(ARGS),tests $(LONG))

test-all: ## run all tests, those that take many minutes too (root)
	@$(MAKE) --no-print-directory test LONG=--long

test-quick: setup $(VENV)/.test ## run the tests that take seconds and need no root
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/unit $(ARGS)

bench: root-bench packages-bench setup $(BENCH_OBJECTS) ## measure frames per second against other ways (root)
	@$(BIN)/python -m tests.bench $(ARGS)

wheel: setup ## build dist/collector-*.whl, the BPF object included; needs no network after setup
	@rm -f dist/*.whl
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 315532800) \
		$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist .
	@$(give_back)
	@ls dist/*.whl

deb: root-deb packages-deb setup ## build dist/collector_*.deb for Debian 12 and 13 (root)
	@trap '$(give_back)' EXIT; deploy/debian/build.sh dist

image: root-image packages-image setup ## build the appliance's images in dist/ (root)
	@trap '$(give_back)' EXIT; deploy/debian/build.sh dist && image/build.sh dist
	@cd dist && ls -sh $$(sed 's/^.* //' SHA256SUMS) SHA256SUMS

image-lock: root-image-lock packages-image ## write image/packages.lock anew, with the versions that Debian has now (root)
	@trap '$(give_back)' EXIT; image/build.sh --lock

ami: setup $(VENV)/.test ## make an AMI of a disk in your AWS account: ARGS="dist/collector-VERSION.raw --region REGION"
	@$(BIN)/python deploy/aws/ami.py $(ARGS)

repro: root-repro packages-image setup ## build the appliance twice, in two folders, and compare (root)
	@trap '$(give_back)' EXIT; image/repro.sh

bench-boot: root-bench-boot packages-test packages-image setup $(VENV)/.test $(IMAGES) ## measure the time from power on to forwarding (root)
	@trap '$(give_back)' EXIT; $(BIN)/python -m tests.bench.power_on $(ARGS)

lock: setup ## choose the newest versions that pyproject.toml allows and write the lock files anew
	$(PIP_INSTALL) --quiet uv
	$(UV_COMPILE) pyproject.toml --output-file collector/requirements.lock
	$(UV_COMPILE) --group build --output-file collector/build.lock
	$(UV_COMPILE) pyproject.toml --group dev --constraint collector/requirements.lock \
		--constraint collector/build.lock --output-file tests/requirements.lock
	$(UV_COMPILE) --group aws --constraint tests/requirements.lock --output-file tests/aws.lock
	@$(give_back)

clean: ## remove everything that make made here
	rm -rf $(VENV) .cache dist
	find collector tests -name '*.bpf.o' -delete
	find collector tests -name __pycache__ -prune -exec rm -rf {} +

$(IMAGES): $(IMAGE_SOURCES) | packages-image setup
	deploy/debian/build.sh dist && image/build.sh dist

root-demo root-test root-bench root-bench-boot root-deb root-image root-image-lock root-repro: root-%:
	@$(call need_root,$*)

packages-setup:
	$(call need_packages,$(SETUP_PACKAGES),setup)

packages-demo:
	$(call need_packages,$(SETUP_PACKAGES) $(DEMO_PACKAGES),demo)

packages-test:
	$(call need_packages,$(SETUP_PACKAGES) $(DEMO_PACKAGES) $(DEB_PACKAGES) $(IMAGE_PACKAGES) $(TEST_PACKAGES),test)

packages-deb:
	$(call need_packages,$(SETUP_PACKAGES) $(DEB_PACKAGES),deb)

packages-image:
	$(call need_packages,$(SETUP_PACKAGES) $(DEB_PACKAGES) $(IMAGE_PACKAGES),image)

packages-bench:
	$(call need_packages,$(SETUP_PACKAGES) $(BENCH_PACKAGES),bench)

$(VENV)/.created: | packages-setup
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("This needs Python 3.11 or newer.")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.setup: collector/requirements.lock collector/build.lock pyproject.toml $(VENV)/.created
	$(PIP_INSTALL) --require-hashes -r collector/requirements.lock -r collector/build.lock
	$(PIP_INSTALL) --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.test: tests/requirements.lock tests/aws.lock $(VENV)/.setup
	$(PIP_INSTALL) --require-hashes -r tests/requirements.lock -r tests/aws.lock
	@touch $@

# Out of their packages, not by installing them: that would start a Prometheus server on this machine.
# Debian 13 has promtool in a package of its own.
$(BIN)/prometheus $(BIN)/promtool &: | $(VENV)/.setup
	@echo "Fetching prometheus and promtool"
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT; \
	packages() { echo prometheus; ! apt-cache show promtool >/dev/null 2>&1 || echo promtool; }; \
	download() { (cd "$$folder" && apt-get download -o APT::Sandbox::User=root $$(packages)); }; \
	{ download || { apt-get update && download; }; } && \
	for package in "$$folder"/*.deb; do dpkg-deb --extract "$$package" "$$folder" || exit 1; done; \
	install -m 755 "$$folder"/usr/bin/prometheus "$$folder"/usr/bin/promtool $(BIN)

%.bpf.o: %.bpf.c $(BPF_HEADERS) Makefile | packages-setup
	$(CLANG) $(BPF_FLAGS) -c $< -o $@
