package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
)

// maxOption bounds the data of an option that a client sends: a name and a
// few queries.
const maxOption = 64 << 10

// errEnd ends a negotiation by agreement.
var errEnd = errors.New("end")

// features are what a client has asked for.
type features struct {
	structured bool
	allocation bool   // base:allocation was chosen
	chosenFor  string // the export that it was chosen for
}

// A negotiation is the server's side of the handshake. It reads nothing ahead.
type negotiation struct {
	server   *Server
	conn     net.Conn
	secure   bool
	noZeroes bool
	features
}

// run returns the export that a client has chosen, or nil where it went away.
func (n *negotiation) run(ctx context.Context) (*Export, error) {
	b := big.AppendUint64(nil, magicInit)
	b = big.AppendUint64(b, magicOption)
	b = big.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
	if _, err := n.conn.Write(b); err != nil {
		return nil, nil
	}
	var flags [4]byte
	if _, err := io.ReadFull(n.conn, flags[:]); err != nil {
		return nil, nil
	}
	chosen := big.Uint32(flags[:])
	if chosen&^(flagFixedNewstyle|flagNoZeroes) != 0 || chosen&flagFixedNewstyle == 0 {
		return nil, fmt.Errorf("client flags %#x", chosen)
	}
	n.noZeroes = chosen&flagNoZeroes != 0
	for {
		opt, data, err := n.read()
		if err == nil {
			var e *Export
			if e, err = n.answer(ctx, opt, data); e != nil && err == nil {
				return e, nil
			}
		}
		if err != nil {
			return nil, unlessGone(err)
		}
	}
}

// unlessGone drops errors that only say that the peer has gone, or that we
// are stopping.
func unlessGone(err error) error {
	for _, gone := range []error{errEnd, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

// read reads one option.
func (n *negotiation) read() (opt uint32, data []byte, err error) {
	var head [optionHeaderSize]byte
	if _, err := io.ReadFull(n.conn, head[:]); err != nil {
		return 0, nil, err
	}
	size := big.Uint32(head[12:])
	if big.Uint64(head[:]) != magicOption || size > maxOption {
		return 0, nil, fmt.Errorf("client sends an option of %d bytes", size)
	}
	data = make([]byte, size)
	_, err = io.ReadFull(n.conn, data)
	return big.Uint32(head[8:]), data, err
}

// reply answers an option.
func (n *negotiation) reply(opt, kind uint32, data []byte) error {
	b := big.AppendUint64(nil, magicOptReply)
	b = big.AppendUint32(b, opt)
	b = big.AppendUint32(b, kind)
	b = big.AppendUint32(b, uint32(len(data)))
	_, err := n.conn.Write(append(b, data...))
	return err
}

// refuse answers an option with an error and words for people.
func (n *negotiation) refuse(opt, kind uint32, why string) error {
	return n.reply(opt, kind, []byte(why))
}

// answer does what an option asks for. It returns an export when the
// negotiation is over.
func (n *negotiation) answer(ctx context.Context, opt uint32, data []byte) (*Export, error) {
	if n.server.TLS != nil && !n.secure && opt != optStartTLS && opt != optAbort {
		if opt == optExportName { // has no way to answer
			return nil, errEnd
		}
		return nil, n.refuse(opt, repErrTLSReqd, "TLS comes first")
	}
	switch opt {
	case optExportName:
		return n.exportName(string(data))
	case optInfo, optGo:
		return n.info(opt, data)
	case optListMetaContext, optSetMetaContext:
		return nil, n.contexts(opt, data)
	}
	if opt != optAbort && len(data) != 0 && (opt == optList || opt == optStartTLS || opt == optStructuredReply) {
		return nil, n.refuse(opt, repErrInvalid, "the option has no data")
	}
	switch opt {
	case optAbort:
		_ = n.reply(opt, repAck, nil)
		return nil, errEnd
	case optStartTLS:
		return nil, n.startTLS(ctx)
	case optList:
		return nil, n.list()
	case optStructuredReply:
		n.structured = true
		return nil, n.reply(opt, repAck, nil)
	}
	return nil, n.refuse(opt, repErrUnsup, "")
}

func (n *negotiation) startTLS(ctx context.Context) error {
	switch {
	case n.server.TLS == nil:
		return n.refuse(optStartTLS, repErrPolicy, "there is no TLS here")
	case n.secure:
		return n.refuse(optStartTLS, repErrInvalid, "TLS has begun before")
	}
	if err := n.reply(optStartTLS, repAck, nil); err != nil {
		return err
	}
	conn := tls.Server(n.conn, n.server.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	// What was agreed on in the clear does not count.
	n.conn, n.secure, n.features = conn, true, features{}
	return nil
}

func (n *negotiation) list() error {
	for _, e := range n.server.Exports {
		if err := n.reply(optList, repServer, append(appendString(nil, e.Name), e.Description...)); err != nil {
			return err
		}
	}
	return n.reply(optList, repAck, nil)
}

// exportName ends the negotiation the old way.
func (n *negotiation) exportName(name string) (*Export, error) {
	e := n.server.find(name)
	if e == nil || e.BlockSize > 1 {
		return nil, errEnd
	}
	n.settle(name)
	b := big.AppendUint64(nil, uint64(e.Backend.Size()))
	b = big.AppendUint16(b, n.flagsOf(e))
	if !n.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	_, err := n.conn.Write(b)
	return e, err
}

// settle drops what was chosen for another export.
func (n *negotiation) settle(name string) {
	n.allocation = n.allocation && n.chosenFor == name
}

// flagsOf returns the transmission flags of an export.
func (n *negotiation) flagsOf(e *Export) uint16 {
	// All connections share one Backend, whose Flush covers them all.
	flags := uint16(canFlags | canMultiConn | canFlush)
	if n.structured {
		flags |= canDF
	}
	if _, ok := e.Backend.(Writer); !ok || e.ReadOnly {
		return flags | canNotWrite
	}
	if _, ok := e.Backend.(Trimmer); ok {
		flags |= canTrim
	}
	return flags | canFUA | canWriteZeroes
}

// info answers INFO and GO.
func (n *negotiation) info(opt uint32, data []byte) (*Export, error) {
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(big.Uint16(rest)) {
		return nil, n.refuse(opt, repErrInvalid, "the option is malformed")
	}
	var wanted []uint16
	for rest = rest[2:]; len(rest) > 0; rest = rest[2:] {
		wanted = append(wanted, big.Uint16(rest))
	}
	e := n.server.find(name)
	if e == nil {
		return nil, n.refuse(opt, repErrUnknown, "there is no such export")
	}
	if e.BlockSize > 1 && !slices.Contains(wanted, infoBlockSize) {
		return nil, n.refuse(opt, repErrBlockSize, fmt.Sprintf("blocks are of %d bytes", e.BlockSize))
	}
	if opt == optGo {
		n.settle(name)
	}
	for _, b := range n.describe(e, wanted) {
		if err := n.reply(opt, repInfo, b); err != nil {
			return nil, err
		}
	}
	if err := n.reply(opt, repAck, nil); err != nil || opt == optInfo {
		return nil, err
	}
	return e, nil
}

// describe returns what is said of an export, one piece each.
func (n *negotiation) describe(e *Export, wanted []uint16) [][]byte {
	b := big.AppendUint16(nil, infoExport)
	b = big.AppendUint64(b, uint64(e.Backend.Size()))
	all := [][]byte{big.AppendUint16(b, n.flagsOf(e))}
	if slices.Contains(wanted, infoName) {
		all = append(all, append(big.AppendUint16(nil, infoName), e.Name...))
	}
	if slices.Contains(wanted, infoDescription) && e.Description != "" {
		all = append(all, append(big.AppendUint16(nil, infoDescription), e.Description...))
	}
	if slices.Contains(wanted, infoBlockSize) {
		least := uint32(max(e.BlockSize, 1))
		b := big.AppendUint16(nil, infoBlockSize)
		b = big.AppendUint32(b, least)
		b = big.AppendUint32(b, max(least, 64<<10))
		all = append(all, big.AppendUint32(b, maxPayload))
	}
	return all
}

// contexts answers LIST_META_CONTEXT and SET_META_CONTEXT.
func (n *negotiation) contexts(opt uint32, data []byte) error {
	if !n.structured {
		return n.refuse(opt, repErrInvalid, "structured replies come first")
	}
	name, queries, ok := cutQueries(data)
	if !ok {
		return n.refuse(opt, repErrInvalid, "the option is malformed")
	}
	if opt == optSetMetaContext {
		n.allocation = false
	}
	if n.server.find(name) == nil {
		return n.refuse(opt, repErrUnknown, "there is no such export")
	}
	meant := slices.Contains(queries, contextAllocation)
	id := uint32(0)
	switch opt {
	case optListMetaContext:
		meant = meant || len(queries) == 0 || slices.Contains(queries, strings.TrimSuffix(contextAllocation, "allocation"))
	case optSetMetaContext:
		n.allocation, n.chosenFor, id = meant, name, allocationID
	}
	if meant {
		if err := n.reply(opt, repMetaContext, append(big.AppendUint32(nil, id), contextAllocation...)); err != nil {
			return err
		}
	}
	return n.reply(opt, repAck, nil)
}

// cutQueries reads the name of an export and queries for contexts.
func cutQueries(data []byte) (name string, queries []string, ok bool) {
	name, data, ok = cutString(data)
	if !ok || len(data) < 4 {
		return "", nil, false
	}
	count := big.Uint32(data)
	data = data[4:]
	for ; count > 0; count-- {
		var query string
		if query, data, ok = cutString(data); !ok {
			return "", nil, false
		}
		queries = append(queries, query)
	}
	return name, queries, len(data) == 0
}
