package nfc

import (
	"time"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// NewHastyOpener is NewOpener with another patience.
func NewHastyOpener(c *vsphere.Client, patience time.Duration) transport.Opener {
	return &opener{vim: c.Client(), patience: patience}
}

// HastyImporter is an Importer with another patience.
func HastyImporter(patience time.Duration) Importer { return Importer{patience: patience} }
