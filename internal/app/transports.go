package app

import (
	"slices"

	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/transport/datastore"
	"github.com/vappvault/vappvault/internal/transport/nfc"
	"github.com/vappvault/vappvault/internal/transport/vddk"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// openers returns the transports of the configuration, in its order.
func (a *App) openers(c *vsphere.Client) []transport.Opener {
	var out []transport.Opener
	for _, name := range a.Config.Transports {
		switch name {
		case "vddk":
			out = append(out, vddk.New(c, a.vddk()))
		case "datastore":
			out = append(out, datastore.NewOpener(c))
		case "nfc":
			out = append(out, nfc.NewOpener(c))
		}
	}
	return out
}

// importers returns the transports of the configuration that make VMs, in its
// order. NFC is always among them, at the end if it is not listed: it needs
// nothing but vCenter, and datastore only reads.
func (a *App) importers() []restore.Importer {
	var out []restore.Importer
	byLease := false
	for _, name := range a.Config.Transports {
		switch name {
		case "vddk":
			out = append(out, vddk.NewImporter(a.vddk()))
		case "nfc":
			out, byLease = append(out, nfc.Importer{}), true
		}
	}
	if !byLease {
		out = append(out, nfc.Importer{})
	}
	return out
}

// targets returns what opens the transports of the configuration that write
// into disks which are there, nil where there is none.
func (a *App) targets() func(*vsphere.Client) []transport.TargetOpener {
	if !slices.Contains(a.Config.Transports, "vddk") {
		return nil
	}
	return func(c *vsphere.Client) []transport.TargetOpener {
		return []transport.TargetOpener{vddk.New(c, a.vddk())}
	}
}

func (a *App) vddk() vddk.Options {
	c := a.Config.VDDK
	return vddk.Options{
		Libdir: c.LibDir, Transports: c.Transports, Nbdkit: c.NBDKit, Plugin: c.Plugin, ConfigFile: c.ConfigFile,
		Compression: c.Compression, NFCHostPort: c.NFCHostPort, Patience: c.Timeout, ReuseSession: c.ReuseSession, Logger: a.Logger,
	}
}
