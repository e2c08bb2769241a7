package datastore

import (
	"time"

	"github.com/vappvault/vappvault/internal/transport"
	"github.com/vappvault/vappvault/internal/vsphere"
)

// Connections is how many transfers a session has under way at most.
const Connections = connections

// NewHastyOpener is NewOpener with another patience.
func NewHastyOpener(c *vsphere.Client, patience time.Duration) transport.Opener {
	return &opener{client: c, patience: patience}
}
