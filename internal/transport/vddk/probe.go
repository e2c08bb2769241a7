package vddk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Probe is what is there of nbdkit, its plugin and the library.
type Probe struct {
	Nbdkit  string   // version, "1.42.3"
	Library string   // major version, "8"; empty where it could not be loaded
	File    string   // of the library
	Modes   []string // ways to a disk that the library has
	Extents bool     // the library tells which blocks are allocated
}

// Look finds out what is installed, without a server. What it found stands in
// the Probe even with an error.
func Look(ctx context.Context, o Options) (p Probe, err error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := o.ask(ctx, "--version")
	if err != nil {
		return p, fmt.Errorf("nbdkit: %w", err)
	}
	if f := strings.Fields(out); len(f) > 1 {
		p.Nbdkit = f[1]
	}
	if err := o.installed(); err != nil {
		return p, err
	}
	if out, err = o.ask(ctx, o.Plugin, "--dump-plugin", "libdir="+o.Libdir); err != nil {
		return p, fmt.Errorf("plugin %s: %w", o.Plugin, err)
	}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "vddk_library_version":
			p.Library = value
		case "vddk_dll":
			p.File = value
		case "vddk_transport_modes":
			p.Modes = strings.Split(value, ":")
		case "VixDiskLib_QueryAllocatedBlocks":
			p.Extents = value == "1"
		}
	}
	if p.Library == "" {
		return p, fmt.Errorf("the library in %s could not be loaded", o.Libdir)
	}
	return p, nil
}

// ask runs nbdkit for what it prints.
func (o Options) ask(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, o.Nbdkit, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = environment(), "/", time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		err = errors.New(strings.TrimPrefix(line, "nbdkit: error: "))
	}
	return string(out), err
}

// Reach tells for each way to a disk what speaks against it on this machine,
// empty where nothing does. It looks for what must be there; what is needed
// besides only opening a disk can tell.
func Reach() map[string]string {
	out := map[string]string{"nbd": "", "nbdssl": "", "san": "", "hotadd": ""}
	vendor, _ := os.ReadFile("/sys/class/dmi/id/sys_vendor")
	if !strings.Contains(string(vendor), "VMware") {
		out["hotadd"] = "this machine is no VM of vSphere"
	}
	adapters := 0
	for _, class := range []string{"fc_host", "iscsi_host"} {
		found, _ := filepath.Glob("/sys/class/" + class + "/*")
		adapters += len(found)
	}
	if adapters == 0 {
		out["san"] = "this machine has no Fibre Channel or iSCSI adapter"
	}
	return out
}
