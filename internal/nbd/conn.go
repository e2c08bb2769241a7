package nbd

import (
	"context"
	"fmt"
	"net"
	"time"
)

// NewClient opens an export over a connection that is there, its only one.
// The negotiation ends with ctx and by nothing else: a server may have to open
// a disk first. The connection is the Client's from here on; an error closes
// it.
func NewClient(ctx context.Context, raw net.Conn, o Options) (*Client, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	conn, e, err := negotiate(ctx, raw, o.Export, o.TLS)
	if !stop() && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("NBD server: %w", err)
	}
	c := &Client{idle: make(chan struct{}), export: e}
	c.add(newLink(raw, conn, &c.export, o.Timeout, c.fail))
	return c, nil
}
