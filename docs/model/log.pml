/* P1-P3: one task's ordered log (and, with TRANS, a transformer's log behind it).
 *
 * A writer's *session* is one start: one epoch (term, attempt), one producer. A worker that crashes and starts again, and the next attempt of a
 * process, are later sessions; a zombie is an earlier one that is scheduled late. Sessions start in any order, stop anywhere, and
 * what they had in flight lands later, in order (idempotent producer), or not at all. A transaction is two parts.
 * Readers apply a transaction and their checkpoint in one step (the loader's promise: loader.pml). Units cover intervals: with a filter some of
 * the source's numbers never come, and heartbeats cover them or do not.
 *
 * Options: SKIPVOID  do not store records that are void when they land: no reader would look at them (for larger runs)
 *          TRUNC  an acknowledged tail of the log is lost once     PERM  sessions see the source in different commit orders
 *                 (fail-over to a replica); they resume by GTID set
 *          TRANS  transformer between two logs, filters one transaction, streams parts, may put a heartbeat in the chain
 *          LIVE   the last session does not die
 * Broken on purpose: NO_READBACK NO_EPOCH NO_CHAIN NO_ESVOID SAME_EPOCH CK_NO_EPOCH ES_ANY TAIL_NO_CHAIN NO_ACKCHECK NO_GTIDCHK
 */
#ifndef N
#define N 2                     /* source transactions */
#endif
#ifndef S
#define S 3                     /* sessions of the extractor */
#endif
#ifndef ST
#define ST 2                    /* sessions of the transformer */
#endif
#ifndef CRASHES
#define CRASHES 1               /* of reader 1 */
#endif
#define LMAX 22
#define ES 0                    /* part: 0 epoch start, 1 first, 2 last, 3 heartbeat */
#define HB 3
#define BIT(x) (1 << (x))
#ifdef TRANS
#define OUT 1
#define SS (S+ST)
#define WANT (ALL & ~BIT(FILTERED))
#else
#define OUT 0
#define SS S
#define WANT ALL
#endif
#define FILTERED 2
#define ALL ((1 << (N+1)) - 2)

typedef Rec { byte epoch; byte seq; byte prev; byte part; byte g; byte inpos; byte inep; byte sess /* ghost */ };
typedef Log { byte top; Rec r[LMAX] };
Log L[2];
chan q[SS] = [2] of { byte, byte, byte, byte, byte, byte };   /* in flight: seq prev part g inpos inep */
byte ack[SS];                   /* offset + 1 of the session's epoch start, once acknowledged */
byte expect[SS];                /* next offset an undisturbed session would get */
bool dead[SS], fin[SS];
bool truncated;
byte phase;                     /* 1: transformers run, 2: readers run. An append-only log reads the same late as early, so this loses nothing */
#ifdef TRUNC                    /* … except around a truncation: then writers stop, readers go on to any place, the tail is cut */
byte turn;
#define WHEN provided (turn == 0)
#define READING (turn == 1 || phase == 2)
#else
#define WHEN
#define READING (phase == 2)
#endif
#ifdef PERM
byte tgtn[2];                   /* ghost: how many */
#endif
byte tgt[2];                    /* ghost: transactions applied by each reader */
byte by[8];                     /* ghost: [reader*4 + seq] = session whose copy was applied */
bool halted[2];

byte ep[SS];                    /* epoch of each session */
#define EP(s) ep[s]
#ifdef PERM
#define NEXT(s,set) (((s)%2==0) -> FIRST(set) : LASTOF(set))
#else
#define NEXT(s,set) FIRST(set)
#endif
#define FIRST(set)  (!((set)&2) -> 1 : (!((set)&4) && N>1 -> 2 : (!((set)&8) && N>2 -> 3 : 0)))
#define LASTOF(set) (N>2 && !((set)&8) -> 3 : (N>1 && !((set)&4) -> 2 : (!((set)&2) -> 1 : 0)))

#ifdef NO_CHAIN
#define CHAINED(p,l) true
#else
#define CHAINED(p,l) ((p) <= (l))
#endif
#ifdef NO_EPOCH
#define STALE(e,hi) false
#else
#define STALE(e,hi) ((e) != (hi))           /* valid is what bears the epoch in force, and nothing else */
#endif
#ifdef ES_ANY
#define NEWER(e,hi) true
#else
#define NEWER(e,hi) ((e) > (hi))
#endif

/* one record through the reader's rules. Local state: hi epoch, l last sequence, op open sequence (0 none), opg/ops its gtid/session, park.
 * sets done=1 when a transaction became complete, done=2 when a heartbeat moved l, first=1 when a part 1 was accepted */
inline rule(R) {
    done = 0; first = 0;
    if
    :: R.part == ES ->
        if :: NEWER(R.epoch,hi) -> hi = R.epoch; park = 0;
#ifndef NO_ESVOID
              op = 0
#endif
           :: else
        fi
    :: R.part != ES && STALE(R.epoch,hi) -> skip
    :: else ->
        if
        :: R.seq <= l || park -> skip
        :: else ->
            if
            :: R.part == 1 && CHAINED(R.prev,l) -> op = R.seq; opg = R.g; ops = R.sess; first = 1
            :: R.part == 2 && op == R.seq -> l = R.seq; done = 1; op = 0
            :: R.part == HB && CHAINED(R.prev,l) -> l = R.seq; op = 0; done = 2
            :: R.part == 2 && op != R.seq && CHAINED(R.prev,l) -> skip    /* its beginning is void */
            :: else -> park = 1
            fi
        fi
    fi
}

/* what a writer learns from its log before offset `upto` */
inline scan(LG, UPTO, MINE) {
    i = 0; hi = 0; l = 0; op = 0; park = 0; set = 0; inpos = 0; inep = 0; fenced = 0;
    do
    :: i < UPTO ->
#ifdef TAIL_NO_CHAIN                                           /* "the last complete transaction", whatever it is chained to */
        if :: L[LG].r[i].part == 2 -> l = L[LG].r[i].prev :: else fi;
        park = 0;
#endif
        if :: L[LG].r[i].part == ES && L[LG].r[i].epoch > MINE -> fenced = 1 :: else fi;
        rule(L[LG].r[i]);
        if :: done -> inpos = L[LG].r[i].inpos; inep = L[LG].r[i].inep;
              if :: done == 1 -> set = set | BIT(L[LG].r[i].g) :: else fi
           :: else
        fi;
        i++
    :: else -> break
    od; op = 0
}

#define stop(s) dead[s] = 1; goto out
#ifdef LIVE
#define CANCRASH(s) ((s) != S-1 && (s) != SS-1)
#else
#define CANCRASH(s) true
#endif

inline begin(SN, LG) {
#ifdef NO_READBACK
    d_step { scan(LG, L[LG].top, EP(SN)) };
    q[SN]!0,0,ES,0,0,0;
    if :: ack[SN] > 0 :: CANCRASH(SN) -> stop(SN) fi;
#else
    q[SN]!0,0,ES,0,0,0;
    if :: ack[SN] > 0 :: CANCRASH(SN) -> stop(SN) fi;
    d_step {
        scan(LG, ack[SN], EP(SN));
        if :: ack[SN] > L[LG].top || L[LG].r[ack[SN]-1].part != ES || L[LG].r[ack[SN]-1].sess != SN -> fenced = 1 :: else fi
    };
    if :: fenced -> stop(SN) :: else fi;
#endif
}

proctype Extractor(byte s) WHEN {
    byte i, hi, l, op, opg, ops, set, g, done, inpos, inep; bool park, fenced, first;
    begin(s, 0);
    do
    :: d_step { g = NEXT(s,set); done = 0; first = 0; hi = 0; opg = 0; ops = 0; i = 0; inpos = 0; inep = 0 };
       if :: g == 0 -> fin[s] = 1; break :: else fi;
       if :: !dead[s] -> q[s]!l+1,l,1,g,0,0 :: CANCRASH(s) || dead[s] -> stop(s) fi;
       if :: !dead[s] -> atomic { q[s]!l+1,l,2,g,0,0; l++; set = set | BIT(g) } :: CANCRASH(s) || dead[s] -> stop(s) fi
    od;
out: skip
}

#ifdef TRANS
proctype Transformer(byte s) WHEN {          /* forwards each part as it comes: a transaction may be larger than memory */
    byte i, hi, l, op, opg, ops, set, done, inpos, inep, outl; bool park, fenced, first;
    endw: phase >= 1;
    begin(s, 1);
    d_step { outl = l; hi = inep; op = 0; park = 0; i = 0; set = 0; opg = 0; ops = 0; first = 0; done = 0 };
    end: do
    :: inpos < L[0].top && !dead[s] ->
        d_step { rule(L[0].r[inpos]); inpos++; assert(!park) };
        if
        :: first && opg != FILTERED -> q[s]!op,outl,1,opg,0,0
        :: done == 1 && opg != FILTERED -> atomic { q[s]!l,outl,2,opg,inpos,hi; outl = l }
        :: done == 1 && opg == FILTERED ->
            if :: atomic { q[s]!l,outl,HB,0,inpos,hi; outl = l } :: true fi
        :: else
        fi
    :: CANCRASH(s) || dead[s] -> stop(s)
    od;
out: skip
}
#endif

inline land(SN, LG) {                     /* the broker appends the oldest record in flight */
    atomic {
        q[SN]?a,b,c,d,e,f ->
#ifdef SKIPVOID
        if :: c == ES -> hi = 0; do :: hi < SS -> if :: (hi < S) == (SN < S) && ep[hi] < ep[SN] -> dead[hi] = 1 :: else fi; hi++ :: else -> break od
           :: else fi; hi = 0;
        if :: dead[SN] && c != ES -> goto landed :: else fi;
#endif
        L[LG].r[L[LG].top].seq = a; L[LG].r[L[LG].top].prev = b; L[LG].r[L[LG].top].part = c; L[LG].r[L[LG].top].g = d;
        L[LG].r[L[LG].top].inpos = e; L[LG].r[L[LG].top].inep = f; L[LG].r[L[LG].top].epoch = EP(SN); L[LG].r[L[LG].top].sess = SN;
        if :: c == ES && ack[SN] == 0 -> ack[SN] = L[LG].top+1 :: else fi;
#ifndef NO_ACKCHECK
        if :: expect[SN] > L[LG].top -> dead[SN] = 1 :: else fi;
        expect[SN] = L[LG].top+1;
#endif
        L[LG].top++;
landed: a = 0; b = 0; c = 0; d = 0; e = 0; f = 0
    }
}
proctype Net(byte s; byte g) WHEN {
    byte a, b, c, d, e, f, hi;
    end: do
    :: nempty(q[s]) -> land(s, g)
    :: atomic { dead[s] && nempty(q[s]) -> do :: q[s]?a,b,c,d,e,f :: empty(q[s]) -> break od; a=0;b=0;c=0;d=0;e=0;f=0 }
    od
}

proctype Reader(byte r) {
    byte pos, hi, l, op, opg, ops, done, cpos, cl, chi, crashes; bool park, first;
    end: do
    :: READING && !halted[r] && pos < L[OUT].top ->
        d_step {
#ifndef NO_GTIDCHK
            if :: L[OUT].r[pos].part == 2 && L[OUT].r[pos].seq <= l && !STALE(L[OUT].r[pos].epoch,hi) && !(tgt[r] & BIT(L[OUT].r[pos].g)) -> halted[r] = 1
               :: else fi;
#endif
            rule(L[OUT].r[pos]);
            if :: park && !truncated -> assert(false) :: else fi;          /* a gap without any lost tail */
            pos++;
            if :: done == 1 && !halted[r] ->
#ifndef NO_GTIDCHK
                if :: tgt[r] & BIT(opg) -> halted[r] = 1 :: else
#endif
                assert(ops == L[OUT].r[pos-1].sess && opg == L[OUT].r[pos-1].g);     /* not torn */
                assert(!(tgt[r] & BIT(opg)));                                          /* not twice */
#ifndef PERM
                assert(opg > 1 || !(tgt[r]));                                          /* in order, none skipped */
                assert(opg == 1 || (tgt[r] & BIT(opg-1)) || ((tgt[r] & BIT(opg-2)) && OUT && opg-1 == FILTERED));
#else
                tgtn[r]++; assert(tgtn[r] == l);                                      /* none skipped: dense */
#endif
                tgt[r] = tgt[r] | BIT(opg);
                by[r*4+l] = ops+1;
#ifndef TRUNC
                assert(!by[l] || !by[4+l] || by[l] == by[4+l]);                        /* all readers see one history */
#endif
                cpos = pos; cl = l; chi = hi
#ifndef NO_GTIDCHK
                fi
#endif
            :: done == 2 -> cpos = pos; cl = l; chi = hi
            :: else
            fi;
            opg = (op -> opg : 0); ops = (op -> ops : 0); done = 0; first = 0
        }
    :: READING && !halted[r] && ((r == 1 && crashes < CRASHES) || pos > L[OUT].top) ->
        d_step {
            if :: pos <= L[OUT].top -> crashes++ :: else fi;
            pos = cpos; l = cl; op = 0; opg = 0; ops = 0; park = 0;
#ifdef CK_NO_EPOCH
            hi = 0;
#else
            hi = chi;
#endif
            /* the record the checkpoint names is not there: read from the start, sequences still filter */
            if :: pos > 0 && (pos > L[OUT].top || L[OUT].r[pos-1].seq != cl || L[OUT].r[pos-1].epoch != chi || L[OUT].r[pos-1].part < 2) ->
                  assert(truncated); pos = 0; hi = 0
               :: else fi
        }
    od
}

#ifdef TRUNC
#define wipe() L[OUT].r[L[OUT].top].epoch=0; L[OUT].r[L[OUT].top].seq=0; L[OUT].r[L[OUT].top].prev=0; L[OUT].r[L[OUT].top].part=0; L[OUT].r[L[OUT].top].g=0; L[OUT].r[L[OUT].top].inpos=0; L[OUT].r[L[OUT].top].inep=0; L[OUT].r[L[OUT].top].sess=0
proctype Truncate() {                   /* an acknowledged tail of one or two records is lost, once, at any time */
    if
    :: atomic { L[OUT].top > 1 -> turn = 1 };               /* readers move now */
       atomic {
        if :: true :: L[OUT].top > 2 -> L[OUT].top--; wipe() fi;
        L[OUT].top--; wipe(); truncated = 1 };
       turn = 0                                               /* until here a reader may notice that its offset is gone */
    :: true
    fi
}
#endif

init {
    byte i;
    atomic {
        i = 0; do :: i < SS -> ep[i] = (i < S -> i+1 : i-S+1);
#ifdef SAME_EPOCH
            ep[i] = (ep[i] > 1 -> ep[i]-1 : 1);
#endif
            i++ :: else -> break od;
        i = 0; do :: i < S -> run Extractor(i); run Net(i,0); i++ :: else -> break od;
#ifdef TRANS
        i = S; do :: i < SS -> run Transformer(i); run Net(i,1); i++ :: else -> break od;
#endif
        run Reader(0); run Reader(1);
#ifdef TRUNC
        run Truncate();
#endif
        i = 0
    };
    /* every run is finite, so liveness is a property of its last state: the newest session finished => everything was applied */
    timeout -> phase = 1;
    timeout -> phase = 2;
    timeout ->
#if defined(TRANS)
    if :: fin[S-1] && !dead[SS-1] -> assert(tgt[0] == WANT && tgt[1] == WANT) :: else fi
#elif !defined(TRUNC)
    if :: fin[S-1] -> assert(tgt[0] == WANT && tgt[1] == WANT) :: else fi;
#ifdef LIVE
    assert(fin[S-1])
#endif
#elif defined(HEALS)
    if :: fin[S-1] && LATEST -> assert(tgt[0] == WANT && tgt[1] == WANT) :: else fi
#endif
}
