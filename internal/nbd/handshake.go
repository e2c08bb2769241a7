package nbd

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
)

const (
	// maxOptReply bounds what a server may answer to an option: an error
	// message of any sense, or a name with its description.
	maxOptReply = 64 << 10
	// maxOptReplies bounds how often it may before it comes to an end.
	maxOptReplies = 1024
)

// A handshake is the client's side of the negotiation. It reads nothing
// ahead: what came before TLS began must not be taken for what came within.
type handshake struct {
	conn  net.Conn
	flags uint16
}

// negotiate agrees with the server on one export.
func negotiate(ctx context.Context, conn net.Conn, name string, config *tls.Config) (net.Conn, export, error) {
	h := &handshake{conn: conn}
	if err := h.greet(); err != nil {
		return nil, export{}, err
	}
	if config != nil {
		if err := h.startTLS(ctx, config); err != nil {
			return nil, export{}, fmt.Errorf("TLS: %w", err)
		}
	}
	e := export{minBlock: 1, prefBlock: 4096, max: maxPayload}
	refusal, err := h.option(optStructuredReply, nil, nil)
	if err != nil {
		return nil, export{}, err
	}
	if e.structured = refusal == nil; e.structured {
		if err := h.setContext(name, &e); err != nil {
			return nil, export{}, err
		}
	}
	if err := h.enter(name, &e); err != nil {
		return nil, export{}, err
	}
	return h.conn, e, nil
}

// greet exchanges the first words.
func (h *handshake) greet() error {
	var b [18]byte
	if err := h.read(b[:]); err != nil {
		return err
	}
	if big.Uint64(b[:]) != magicInit || big.Uint64(b[8:]) != magicOption {
		return broken("what it says first is not NBD's newstyle")
	}
	flags := big.Uint16(b[16:])
	if flags&flagFixedNewstyle == 0 {
		return broken("it does not know the fixed newstyle")
	}
	h.flags = flags & (flagFixedNewstyle | flagNoZeroes)
	return h.write(big.AppendUint32(nil, uint32(h.flags)))
}

func (h *handshake) startTLS(ctx context.Context, config *tls.Config) error {
	refusal, err := h.option(optStartTLS, nil, nil)
	if err != nil {
		return err
	}
	if refusal != nil {
		return refusal
	}
	conn := tls.Client(h.conn, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	h.conn = conn
	return nil
}

// setContext asks for base:allocation. A server need not have it.
func (h *handshake) setContext(name string, e *export) error {
	data := appendString(nil, name)
	data = big.AppendUint32(data, 1)
	data = appendString(data, contextAllocation)
	refusal, err := h.option(optSetMetaContext, data, func(kind uint32, b []byte) error {
		if kind != repMetaContext || len(b) < 4 || string(b[4:]) != contextAllocation || e.allocation {
			return broken("answer %d to the choice of metadata contexts", kind)
		}
		e.allocation, e.contextID = true, big.Uint32(b)
		return nil
	})
	if refusal != nil {
		e.allocation = false
	}
	return err
}

// enter ends the negotiation and begins the transmission.
func (h *handshake) enter(name string, e *export) error {
	data := appendString(nil, name)
	data = big.AppendUint16(data, 1)
	data = big.AppendUint16(data, infoBlockSize)
	described := false
	refusal, err := h.option(optGo, data, func(kind uint32, b []byte) error {
		if kind != repInfo || len(b) < 2 {
			return broken("answer %d to the choice of an export", kind)
		}
		if big.Uint16(b) == infoExport {
			described = true
		}
		return e.info(b)
	})
	switch {
	case err != nil:
		return err
	case refusal != nil:
		return fmt.Errorf("export %q: %w", name, refusal)
	case !described:
		return broken("it does not say how large export %q is", name)
	case e.size%e.minBlock != 0:
		return broken("%d bytes are no multiple of its blocks of %d", e.size, e.minBlock)
	}
	return nil
}

// info takes over one piece of what a server tells of an export.
func (e *export) info(b []byte) error {
	kind, b := big.Uint16(b), b[2:]
	switch kind {
	case infoExport:
		if len(b) != 10 || big.Uint64(b) > math.MaxInt64 {
			return broken("size of the export")
		}
		e.size, e.flags = int64(big.Uint64(b)), big.Uint16(b[8:])
		if !e.can(canFlags) {
			e.flags = canFlags
		}
	case infoBlockSize:
		if len(b) != 12 || !e.blockSizes(big.Uint32(b), big.Uint32(b[4:]), big.Uint32(b[8:])) {
			return broken("block sizes")
		}
	}
	return nil
}

// option sends an option and gives what comes back before the end to answer.
// A refusal of the server is not an error: it may know less than we ask for.
func (h *handshake) option(opt uint32, data []byte, answer func(kind uint32, b []byte) error) (refusal, err error) {
	b := big.AppendUint64(nil, magicOption)
	b = big.AppendUint32(b, opt)
	b = big.AppendUint32(b, uint32(len(data)))
	if err := h.write(append(b, data...)); err != nil {
		return nil, err
	}
	for range maxOptReplies {
		kind, b, err := h.reply(opt)
		switch {
		case err != nil:
			return nil, err
		case kind == repAck:
			return nil, nil
		case kind&repError != 0:
			return &Refusal{kind &^ repError, printable(b)}, nil
		case answer == nil:
			return nil, broken("answer %d to option %d", kind, opt)
		}
		if err := answer(kind, b); err != nil {
			return nil, err
		}
	}
	return nil, broken("no end of answers to option %d", opt)
}

// reply reads one answer to an option.
func (h *handshake) reply(opt uint32) (kind uint32, data []byte, err error) {
	var head [optReplyHeaderSize]byte
	if err := h.read(head[:]); err != nil {
		return 0, nil, err
	}
	kind, n := big.Uint32(head[12:]), big.Uint32(head[16:])
	if big.Uint64(head[:]) != magicOptReply || big.Uint32(head[8:]) != opt {
		return 0, nil, broken("it answers something else than option %d", opt)
	}
	if n > maxOptReply {
		return 0, nil, broken("an answer of %d bytes to option %d", n, opt)
	}
	data = make([]byte, n)
	return kind, data, h.read(data)
}

func (h *handshake) read(b []byte) error {
	if _, err := io.ReadFull(h.conn, b); err != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return nil
}

func (h *handshake) write(b []byte) error {
	if _, err := h.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, err)
	}
	return nil
}
