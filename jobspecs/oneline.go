package jobspecs

import (
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// layout is the text that HCL's parser gets, and the way back to what the user wrote. HCL itself takes
// one argument at most in a block on one line; we take `resources { cpu = 100, memory = 64 }` and
// blocks within blocks, by breaking such lines where HCL wants them broken.
type layout struct {
	source []byte // what the user wrote
	text   []byte // what the parser reads
	// inserted are the places in text, ascending, of line breaks that source does not have.
	inserted []int
}

// origin gives the byte of source that a byte of text came from.
func (l *layout) origin(b int) int { return b - sort.SearchInts(l.inserted, b) }

// layOut breaks one-line blocks. Text that makes no sense is left as it is, for the parser to judge.
func layOut(filename string, source []byte) (*layout, hcl.Diagnostics) {
	tokens, _ := hclsyntax.LexConfig(source, filename, hcl.InitialPos)
	b := breaker{tokens: tokens}
	if diags := b.walk(); diags.HasErrors() {
		return &layout{source: source, text: source}, diags
	}
	return b.apply(source), nil
}

// breaker walks the tokens and notes where lines must be broken.
type breaker struct {
	tokens hclsyntax.Tokens
	// open has an entry for each open bracket: what kind it is.
	open   []bracket
	breaks []lineBreak
}

type bracket byte

const (
	// blockBody is a block that goes over several lines, lineBody one that starts on one line.
	blockBody bracket = iota
	lineBody
	// other is a bracket within an expression.
	other
)

// lineBreak is a break before the byte at, in place of length bytes (a comma's one, or none).
type lineBreak struct{ at, length int }

func (b *breaker) walk() hcl.Diagnostics {
	for i, t := range b.tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace:
			b.openBrace(i)
		case hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			b.open = append(b.open, other)
		case hclsyntax.TokenComma:
			if b.within(lineBody) {
				b.breaks = append(b.breaks, lineBreak{t.Range.Start.Byte, 1})
			}
		case hclsyntax.TokenCBrace:
			b.closeBrace(i)
		case hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd:
			b.pop()
		}
		if len(b.open) > nestingMax {
			return hcl.Diagnostics{fault(t.Range, "nested too deeply: more than %d brackets", nestingMax)}
		}
	}
	return nil
}

func (b *breaker) openBrace(i int) {
	switch {
	case !b.startsBlock(i):
		b.open = append(b.open, other)
	case b.ends(i + 1):
		b.open = append(b.open, blockBody)
	default:
		b.open = append(b.open, lineBody)
		if b.tokens[i+1].Type != hclsyntax.TokenCBrace {
			b.breaks = append(b.breaks, lineBreak{b.tokens[i].Range.End.Byte, 0})
		}
	}
}

// closeBrace breaks before the brace of a one-line body and, if more follows on the line, after it.
func (b *breaker) closeBrace(i int) {
	if b.within(lineBody) && b.tokens[i-1].Type != hclsyntax.TokenOBrace {
		b.breaks = append(b.breaks, lineBreak{b.tokens[i].Range.Start.Byte, 0})
	}
	body := b.pop() != other
	if body && b.within(lineBody) && b.tokens[i+1].Type == hclsyntax.TokenIdent {
		b.breaks = append(b.breaks, lineBreak{b.tokens[i].Range.End.Byte, 0})
	}
}

// startsBlock looks back from a brace: a block's follows a name and labels, at the start of a statement.
func (b *breaker) startsBlock(i int) bool {
	if len(b.open) > 0 && b.within(other) {
		return false
	}
	names := 0
	for i--; i >= 0; i-- {
		switch b.tokens[i].Type {
		case hclsyntax.TokenIdent:
			names++
		case hclsyntax.TokenOQuote, hclsyntax.TokenQuotedLit, hclsyntax.TokenCQuote:
		case hclsyntax.TokenNewline, hclsyntax.TokenComment, hclsyntax.TokenOBrace, hclsyntax.TokenCBrace, hclsyntax.TokenComma:
			return names > 0
		default:
			return false
		}
	}
	return names > 0
}

func (b *breaker) within(k bracket) bool {
	return len(b.open) > 0 && b.open[len(b.open)-1] == k
}

func (b *breaker) pop() bracket {
	if len(b.open) == 0 {
		return other
	}
	last := b.open[len(b.open)-1]
	b.open = b.open[:len(b.open)-1]
	return last
}

// ends tells whether the line ends at token i (a comment's token holds its line's end).
func (b *breaker) ends(i int) bool {
	t := b.tokens[i].Type
	return t == hclsyntax.TokenNewline || t == hclsyntax.TokenComment || t == hclsyntax.TokenEOF
}

func (b *breaker) apply(source []byte) *layout {
	l := &layout{source: source}
	from := 0
	for _, br := range b.breaks {
		l.text = append(l.text, source[from:br.at]...)
		if br.length == 0 {
			l.inserted = append(l.inserted, len(l.text))
		}
		l.text = append(l.text, '\n')
		from = br.at + br.length
	}
	l.text = append(l.text, source[from:]...)
	return l
}
