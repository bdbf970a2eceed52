/* P11: XA transactions between the source's log and the pipeline's.
 *
 * The source's log holds prepares, decisions and ordinary transactions in any order; prepares may stay open. The transformer makes of a commit
 * an ordinary transaction under the decision's number, of everything else a heartbeat. It stops anywhere and starts anew from the last unit of
 * its own log, which carries the place in its input and the open prepares with theirs. The input is trimmed by retention; what it
 * needs again must not go.
 *
 * Broken on purpose: NOT_CARRIED TRIM_BLIND
 */
#ifndef L
#define L 6                     /* units of the source's log */
#endif
#define X 2                     /* XA transactions */
#define TX 0
#define PREPARE 1
#define COMMIT 2
#define ROLLBACK 3
#define NOWHERE 15

typedef Unit { byte kind; byte xid };
Unit in[L];
byte written;                   /* so many units are in the source's log */
byte trimmed;                   /* so many are gone from its head */
typedef Out { byte next; byte open[X] };       /* a unit of the pipeline's log: the input's cursor behind it, and the open prepares */
Out tail;                       /* the last one */
byte applied[X];                /* ghost: how often the rows of an XA transaction went out */
byte state[X];                  /* at the source: 0 none, 1 prepared, 2 committed, 3 rolled back */
byte plain, plains;             /* ordinary transactions: written, and passed on */
byte stops;
bool halted;

proctype Source() {
    byte x;
    do
    :: atomic { written < L ->
        if
        :: in[written].kind = TX; plain++
        :: state[0] == 0 -> x = 0; in[written].kind = PREPARE; state[0] = 1
        :: state[1] == 0 -> x = 1; in[written].kind = PREPARE; state[1] = 1
        :: state[0] == 1 -> x = 0; if :: in[written].kind = COMMIT; state[0] = 2 :: in[written].kind = ROLLBACK; state[0] = 3 fi
        :: state[1] == 1 -> x = 1; if :: in[written].kind = COMMIT; state[1] = 2 :: in[written].kind = ROLLBACK; state[1] = 3 fi
        fi;
        in[written].xid = x; x = 0; written++ }
    :: written == L -> break
    od
}

proctype Transformer() {
    byte pos, open[X], next;
start: skip;
    d_step {
        pos = tail.next;
#ifdef NOT_CARRIED
        open[0] = NOWHERE; open[1] = NOWHERE
#else
        open[0] = tail.open[0]; open[1] = tail.open[1]
#endif
    };
    end: do
    :: atomic { pos < written && !halted ->
        assert(pos >= trimmed);
        if
        :: in[pos].kind == TX -> plains++
        :: in[pos].kind == PREPARE -> open[in[pos].xid] = pos
        :: in[pos].kind == COMMIT ->
            next = open[in[pos].xid];
            if
            :: next == NOWHERE || next < trimmed -> halted = 1              /* named, never skipped */
            :: else -> assert(in[next].kind == PREPARE && in[next].xid == in[pos].xid);
                applied[in[pos].xid]++; open[in[pos].xid] = NOWHERE
            fi;
            next = 0
        :: in[pos].kind == ROLLBACK -> open[in[pos].xid] = NOWHERE
        fi;
        if
        :: halted
        :: else ->                                              /* the unit and where to go on are one record: P1 */
            pos++; tail.next = pos; tail.open[0] = open[0]; tail.open[1] = open[1]
        fi }
    :: stops < 2 -> stops++; goto start
    od
}

#define OLDEST(x) (tail.open[x] < tail.next -> tail.open[x] : tail.next)
proctype Retention() {
    end: do
#ifdef TRIM_BLIND
    :: trimmed < tail.next -> trimmed++
#else
    :: trimmed < OLDEST(0) && trimmed < OLDEST(1) -> trimmed++
#endif
    od
}

init {
    atomic { tail.open[0] = NOWHERE; tail.open[1] = NOWHERE; run Source(); run Transformer(); run Retention() };
    timeout ->
    assert(!halted);
    assert(tail.next == L && plains == plain);
    assert(applied[0] == (state[0] == 2 -> 1 : 0));
    assert(applied[1] == (state[1] == 2 -> 1 : 0))
}
